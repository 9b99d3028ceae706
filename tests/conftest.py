"""The quick part of the suite is `-m "not slow"`: it asks what depends on installed versions."""

from __future__ import annotations

import pytest

collect_ignore = ["typed"]  # read by a type checker alone

# Many random inputs, large programs and every figure at every size: seconds each, or a minute in
# all. What they ask of other packages is asked by quicker tests of the same files.
SLOW = (
    "test_a_large_log_takes_little_memory",
    "test_a_long_sum_is_saved_and_read_back",
    "test_any_bound_is_kept",
    "test_as_a_process",
    "test_best_ofs_of_random_laws",
    "test_data_are_frozen_values",
    "test_descent_reaches_what_a_design_predicts",
    "test_designs_of_any_numbers",
    "test_distance_is_a_metric",
    "test_distance_scales_under_maps",
    "test_distances_in_closed_form",
    "test_draws_on_a_figure_of_its_own",
    "test_draws_where_it_is_told",
    "test_each_piece_is_whole_numbers_about_its_mean",
    "test_every_sum_has_its_law",
    "test_files_do_not_hold_the_time_of_writing",
    "test_large_graphs_are_exact",
    "test_laws_just_outside",
    "test_masses_are_the_tied_shares_of_many_completions",
    "test_matplotlib_is_loaded_on_drawing_only",
    "test_mixtures_of_exponentials_have_a_constant_potential",
    "test_more_draws_mean_more_reward",
    "test_more_slope_never_comes_less_near",
    "test_no_circle_of_imports",
    "test_no_ranking_is_above",
    "test_no_rewards_of_a_graph_are_above",
    "test_no_small_picture_covers_another",
    "test_no_text_is_cut_off",
    "test_panels_agree",
    "test_powers_have_beta_laws_whatever_their_weight",
    "test_ppf_properties",
    "test_random_text_is_refused_or_a_utility",
    "test_random_utilities",
    "test_saved_files_are_whole",
    "test_sums_with_singular_families",
    "test_the_import_is_quick",
    "test_two_thousand_completions",
    "test_verdicts_on_random_mixtures_are_consistent",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
