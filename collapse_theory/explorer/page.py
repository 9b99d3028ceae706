"""The page itself, in NiceGUI: widgets that change a `State`, and show what is computed for it.

Texts of users go into labels, inputs and options of charts, never into HTML.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import app, run, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request

import collapse_theory as ct
from collapse_theory.explorer import answers as computed
from collapse_theory.explorer.answers import Answer
from collapse_theory.explorer.state import DOMAINS, LARGEST, MOST, State, moved, numbers_in

HOST = "127.0.0.1"
SLIDERS = 8  # of one text; further numbers are typed
MOST_BYTES = 256 * 2**20  # of a reward log
COLOURS = ("#3b8fd0", "#d55e00", "#009e73", "#cc79a7")  # apart in any sight, light or dark
GREY = "#808080"  # reads on white and on black
UTILITIES = (
    "log(x + 0.1)",
    "-1/(x + 0.1)",
    "logsigmoid(4.0*x)",
    "log(x)",
    "x**0.5",
    "-x**-0.5",
    "-1/x",
    "x",
    "1 - exp(-3.0*x)",
    "x - 0.3*x**2",
    "sin(1.2*x)",
    "min(x, 0.5)",
    "LabelSmoothing(0.1)",
    "Squared(1.0)",
    "PlackettLuce(beta=1.0)",
)
TARGETS = (
    "atoms 0.3 + uniform",
    "uniform",
    "two-valued",
    "beta(0.5, 0.5)",
    "beta(4.0, 2.0)",
    "levels 4 2 4",
    "rewards 1.0 0.8 0.3 0",
)
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


class Latest:
    """Answers the latest question alone: a slow one is never queued behind."""

    def __init__(self, compute: Callable[[Any], Any], show: Callable[[Any, Any], None]) -> None:
        self.compute, self.show = compute, show
        self.waiting: list[Any] = []
        self.busy = False

    async def ask(self, question: Any) -> None:
        self.waiting = [question]
        if self.busy:
            return
        self.busy = True
        try:
            while self.waiting:
                question = self.waiting.pop()
                found = await run.io_bound(self.compute, question)
                if not self.waiting:
                    self.show(question, found)
        finally:
            self.busy = False


def attempt(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that gives back what is wrong with its input as a text."""

    def tried(question: Any) -> Any:
        try:
            return compute(question)
        except computed.FAULTS as fault:
            return str(fault)

    return tried


class Slider(ui.slider):
    """A slider that the browser moves by itself: echoes of where it was would throw it back."""

    LOOPBACK = False


class TextWithSliders:
    """A text that can be typed or chosen, and a slider for each number in it."""

    def __init__(
        self, label: str, text: str, choices: Sequence[str], told: Callable[[str], Any]
    ) -> None:
        self.told = told
        self.base, self.text = text, text
        self.input = ui.input(label, value=text, on_change=self._typed).props("dense debounce=250")
        self.input.classes("text")
        with (
            self.input.add_slot("append"),
            ui.button(icon="expand_more").props('flat dense round aria-label="examples"'),
            ui.menu(),
        ):
            for choice in choices:
                ui.menu_item(choice, partial(self.input.set_value, choice))
        self.place = ui.column().classes("sliders")
        self.fault = ui.label().classes("fault").props("role=alert")
        self._sliders()

    def _sliders(self) -> None:
        numbers = numbers_in(self.base)[:SLIDERS]
        self.places: list[float | None] = [None] * len(numbers)
        self.place.clear()
        with self.place:
            for i, number in enumerate(numbers):
                with ui.row().classes("slider"):
                    shown = ui.label(self.base[number.start : number.end])
                    low, high = number.reach
                    slider = Slider(
                        min=low, max=high, step=1 if number.whole else 0.01, value=number.place
                    ).props(f'aria-label="number {i + 1}"')

                def move(event: Any, i: int = i, number: Any = number, shown: Any = shown) -> Any:
                    self.places[i] = event.value
                    shown.text = number.text(event.value)
                    self.text = moved(self.base, self.places)
                    self.input.value = self.text
                    return self.told(self.text)

                slider.on_value_change(move)

    def _typed(self, event: Any) -> Any:
        text = event.value or ""
        if text == self.text:  # a slider wrote it
            return None
        self.base = self.text = text
        self._sliders()
        return self.told(text)


def chart(title: str, x: str, y: str) -> ui.echart:
    """Return an empty chart; its colours read on light and on dark ground."""
    axis = {
        "type": "value",
        "nameLocation": "middle",
        "nameGap": 26,
        "nameTextStyle": {"color": GREY},
        "axisLabel": {"color": GREY, "hideOverlap": True},
        "axisLine": {"show": True, "lineStyle": {"color": GREY}},
        "splitLine": {"lineStyle": {"color": GREY, "opacity": 0.2}},
    }
    options = {
        "animation": False,
        "title": {"text": title, "textStyle": {"color": GREY, "fontSize": 14}, "padding": 0},
        "grid": {"left": 44, "right": 44, "top": 34, "bottom": 44},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {**axis, "name": x, "scale": True},
        "yAxis": [
            {**axis, "name": y, "nameGap": 32, "scale": True},
            {**axis, "name": "mass of an atom", "nameGap": 32, "min": 0, "show": False},
        ],
        "series": [],
    }
    return ui.echart(options).classes("chart")


def curve(name: str, colour: str, data: Any, **more: Any) -> dict[str, Any]:
    """Return a line of a chart."""
    style = {"color": colour, "width": 2, **more.pop("lineStyle", {})}
    look = {"type": "line", "showSymbol": False, "lineStyle": style, "itemStyle": {"color": colour}}
    return {"name": name, "data": data, **look, **more}


def points(name: str, colour: str, data: Any) -> dict[str, Any]:
    """Return points of a chart."""
    size = 7 if len(data) <= 32 else 4
    look = {"type": "scatter", "symbolSize": size, "itemStyle": {"color": colour}}
    return {"name": name, "data": data, **look}


class Page:
    """One visitor's page."""

    def __init__(self, state: State, faults: Sequence[str], address: str) -> None:
        self.state, self.address, self.file = state, address, "rewards.csv"
        self.answers: list[Answer] = []
        self.design: ct.Design | None = None
        self.diagnosis: ct.Diagnosis | None = None
        ui.add_css(CSS)
        self.predict = Latest(computed.answers_of, self._show_answers)
        self.designs = Latest(attempt(computed.designed), self._show_design)
        with ui.element("main").classes("page"):
            ui.label("Reward collapse, explored").classes("title").props("role=heading")
            for fault in faults:
                ui.label(f"in the link: {fault}").classes("fault").props("role=alert")
            with ui.tabs(on_change=self._turned) as tabs:
                ui.tab("predict", "Utility to law", icon="insights")
                ui.tab("design", "Law to utility", icon="design_services")
                ui.tab("log", "Reward log", icon="upload_file")
            tabs.props("dense align=left")
            with ui.tab_panels(tabs, value=state.view).classes("panels"):
                with ui.tab_panel("predict"), ui.element("div").classes("sides"):
                    self._build_predict()
                with ui.tab_panel("design"), ui.element("div").classes("sides"):
                    self._build_design()
                with ui.tab_panel("log"), ui.element("div").classes("sides"):
                    self._build_log()
            self._build_code()
        self.tabs = tabs
        ui.timer(0.01, self._first, once=True)

    async def _first(self) -> None:
        await self.predict.ask(self.state)
        if self.state.view == "design":
            await self.designs.ask(self.state.target)

    async def _set(self, state: State) -> None:
        """Take another state, and compute what it changes."""
        before, self.state = self.state, state
        self._show_code()
        if state.target != before.target or (state.view == "design" and self.design is None):
            await self.designs.ask(state.target)
        if replace(state, target="", view="") != replace(before, target="", view=""):
            await self.predict.ask(state)

    async def _turned(self, event: Any) -> None:
        await self._set(replace(self.state, view=event.value))

    # -- utility to law ------------------------------------------------------------------

    def _build_predict(self) -> None:
        with ui.element("div").classes("controls"):
            with ui.row().classes("slider"):
                size = ui.label(f"n = {self.state.n}")
                slider = Slider(min=2, max=LARGEST, value=self.state.n)
                slider.props('aria-label="completions"')
                size.bind_text_from(slider, "value", lambda n: f"n = {n:.0f}")
            slider.on_value_change(lambda e: self._set(replace(self.state, n=round(e.value or 2))))
            self.domain = TextWithSliders(
                "domain",
                self.state.domain,
                [example for _, _, example in DOMAINS.values()],
                lambda text: self._set(replace(self.state, domain=text)),
            )
            self.rows = ui.column().classes("rows")
            ui.button("compare another", icon="add", on_click=self._add).props("flat dense")
        with ui.element("div").classes("charts"):
            self.utility_chart = chart("Utility, mapped to [0, 1]", "gap", "U")
            self.law_chart = chart("Limit law", "reward", "density")
            self.reward_chart = chart("Rewards of n completions", "rank", "reward")
            ui.button("save the figure", icon="download", on_click=self._save_answers).props(
                "flat dense"
            )
        self._build_rows()

    def _build_rows(self) -> None:
        self.cards: list[tuple[TextWithSliders, ui.label]] = []
        self.rows.clear()
        with self.rows:
            for i, (text, kind) in enumerate(
                zip(self.state.utilities, self.state.kinds, strict=True)
            ):
                card = ui.element("div").classes("card").style(f"border-color: {COLOURS[i]}")
                with card:
                    with ui.row().classes("line"):
                        ui.input(
                            "kind of prompts",
                            value=kind,
                            on_change=lambda e, i=i: self._set(
                                self.state.with_row(i, kind=e.value or "")
                            ),
                        ).props("dense debounce=250").classes("grow")
                        if len(self.state.utilities) > 1:
                            ui.button(icon="close", on_click=partial(self._remove, i)).props(
                                'flat dense round aria-label="remove"'
                            )
                    field = TextWithSliders(
                        "utility U(x) of a gap x",
                        text,
                        UTILITIES,
                        lambda text, i=i: self._set(self.state.with_row(i, text)),
                    )
                    self.cards.append((field, ui.label().classes("told")))

    async def _add(self) -> None:
        if len(self.state.utilities) == MOST:
            ui.notify(f"{MOST} utilities are compared at most")
            return
        unused = [text for text in UTILITIES if text not in self.state.utilities]
        await self._set_rows(self.state.more(unused[0]))

    async def _remove(self, row: int) -> None:
        await self._set_rows(self.state.fewer(row))

    async def _set_rows(self, state: State) -> None:
        before, self.state = self.state, state
        self._build_rows()
        self.state = before
        await self._set(state)

    def _show_answers(self, state: State, found: list[Answer]) -> None:
        self.answers = found
        for (field, told), answer in zip(self.cards, found, strict=False):
            field.fault.text, told.text = answer.fault, "\n".join(answer.lines)
        width = computed.widest(found)
        coloured = [(a, COLOURS[i]) for i, a in enumerate(found) if a.solution is not None]
        laws = [(a, colour) for a, colour in coloured if a.law is not None]
        self._draw(
            self.utility_chart,
            [curve(a.kind, c, computed.utility_curve(a, width)) for a, c in coloured],
            y={"min": -0.2, "max": 1, "interval": 0.2},
        )
        densities = [curve(a.kind, c, computed.density_curve(a.law)) for a, c in laws]
        stems = [
            curve(f"{a.kind}, atoms", c, computed.atom_stems(a.law), yAxisIndex=1, symbol="circle")
            | {"showSymbol": True, "symbolSize": 5}
            for a, c in laws
            if len(a.law.atoms)
        ]
        self.law_chart.options["yAxis"][1]["show"] = bool(stems)
        high = [p[1] for one in densities for p in one["data"] if p[1] is not None]
        self._draw(
            self.law_chart,
            densities + stems,
            y={"min": 0, "max": float(f"{1.5 * np.quantile(high, 0.9):.2g}") if high else None},
        )
        self._draw(
            self.reward_chart,
            [points(a.kind, c, computed.reward_points(a.solution.rewards)) for a, c in coloured]
            + [
                curve(
                    f"{a.kind}, quantiles of the law",
                    c,
                    computed.reward_points(a.law.quantiles(state.n)),
                    lineStyle={"width": 1, "opacity": 0.7},
                )
                for a, c in laws
            ],
            y={},
        )

    def _draw(self, chart: ui.echart, series: list[Any], y: dict[str, Any]) -> None:
        chart.options["series"] = series
        chart.options["yAxis"][0].update(y)
        chart.update()

    async def _save_answers(self) -> None:
        await self._save(lambda fig: computed.draw_answers(self.answers, fig), "laws.svg")

    async def _save(self, draw: Callable[[Any], Any], name: str) -> None:
        form = name.rpartition(".")[2]
        content: Any = await run.io_bound(attempt(lambda d: computed.figure_bytes(d, form)), draw)
        if isinstance(content, str):
            ui.notify(content, type="negative")
        else:
            ui.download.content(content, name)

    # -- law to utility ------------------------------------------------------------------

    def _build_design(self) -> None:
        with ui.element("div").classes("controls"):
            self.target = TextWithSliders(
                "wanted law",
                self.state.target,
                TARGETS,
                lambda text: self._set(replace(self.state, target=text)),
            )
            self.design_utility = ui.label().classes("told strong")
            self.design_told = ui.label().classes("told")
            with ui.row():
                ui.button("compare it", icon="add", on_click=self._take).props("flat dense")
                ui.button("save as JSON", icon="data_object", on_click=self._save_json).props(
                    "flat dense"
                )
                ui.button("save the figure", icon="download", on_click=self._save_design).props(
                    "flat dense"
                )
        with ui.element("div").classes("charts"):
            self.quantile_chart = chart("Quantiles", "share of rewards below", "reward")

    def _show_design(self, target: str, found: ct.Design | str) -> None:
        wrong = isinstance(found, str)
        self.design = None if wrong else found
        self.target.fault.text = found if wrong else ""
        self.design_utility.text = "" if wrong else f"U(x) = {found.train_with}"
        self.design_told.text = "" if wrong else "\n".join(computed.design_lines(found))
        series = [] if wrong else computed.design_curves(found)
        looks = [{"color": GREY}, {"color": COLOURS[0]}, {"color": COLOURS[1], "type": "dashed"}]
        self._draw(
            self.quantile_chart,
            [
                curve(name, look["color"], data, lineStyle=look)
                for (name, data), look in zip(series, looks, strict=False)
            ],
            y={},
        )

    async def _take(self) -> None:
        if self.design is None or len(self.state.utilities) == MOST:
            ui.notify(f"there is no design, or {MOST} utilities are compared already")
            return
        await self._set_rows(self.state.more(str(self.design.train_with), "designed"))
        self.tabs.value = "predict"

    def _save_json(self) -> None:
        if self.design is not None:
            ui.download.content(json.dumps(self.design.to_dict()), "design.json")

    async def _save_design(self) -> None:
        if self.design is not None:
            found = self.design
            await self._save(lambda fig: ct.figures.design(found, fig=fig), "design.svg")

    # -- a reward log --------------------------------------------------------------------

    def _build_log(self) -> None:
        with ui.element("div").classes("controls"):
            ui.label(
                "A reward log: CSV, JSON or Parquet, plain or packed; a row is one completion's "
                "reward. It stays on this machine, and is no part of the link. It is compared "
                "with the utilities of the first tab."
            )
            ui.upload(
                label="drop a log here",
                auto_upload=True,
                max_file_size=MOST_BYTES,
                on_upload=self._uploaded,
                on_rejected=lambda: ui.notify("the file is too large", type="negative"),
            ).classes("upload")
            self.log_fault = ui.label().classes("fault").props("role=alert")
            self.log_told = ui.label().classes("told")
            ui.button("save the figure", icon="download", on_click=self._save_log).props(
                "flat dense"
            )
        with ui.element("div").classes("picture"):
            self.log_image = ui.image().props('alt="the diagnosis, drawn" no-spinner')
            self.log_image.set_visibility(False)

    async def _uploaded(self, event: Any) -> None:
        name = re.sub(r"[^\w.-]", "_", Path(event.file.name).name)[-100:] or "log"
        self.log_told.text, self.log_fault.text = "reading ...", ""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            await event.file.save(path)
            found: Any = await run.io_bound(attempt(self._diagnosed), path)
        self.file = name
        self._show_code()
        wrong = isinstance(found, str)
        self.log_fault.text = found.replace(str(path), name) if wrong else ""
        self.log_told.text = "" if wrong else "\n".join(computed.diagnosis_lines(found[0]))
        self.diagnosis = None if wrong else found[0]
        self.log_image.set_visibility(not wrong)
        if not wrong:
            self.log_image.set_source(found[1])

    def _diagnosed(self, path: Path) -> Any:
        domain = self.state.chosen_domain()
        held = None if isinstance(domain, ct.Box) else domain
        found = ct.diagnose(path, utility=list(self.state.utilities), domain=held)
        return found, computed.inline_picture(lambda fig: ct.figures.diagnosis(found, fig=fig))

    async def _save_log(self) -> None:
        if self.diagnosis is not None:
            found = self.diagnosis
            await self._save(lambda fig: ct.figures.diagnosis(found, fig=fig), "diagnosis.svg")

    # -- the same in Python, in a shell, as a link ---------------------------------------

    def _build_code(self) -> None:
        self.code: dict[str, ui.label] = {}
        with ui.element("div").classes("codes"):
            for name in ("Python", "shell", "link"):
                with ui.element("div").classes("code"):
                    with ui.row().classes("line"):
                        ui.label(f"The same as {name}" if name == "link" else f"The same in {name}")
                        ui.button(
                            icon="content_copy",
                            on_click=partial(self._copy, name),
                        ).props(f'flat dense round aria-label="copy {name}"')
                    self.code[name] = ui.label().classes("source").props(f"data-code={name}")
        self._show_code()

    def _copy(self, name: str) -> None:
        ui.clipboard.write(self.code[name].text)

    def _show_code(self) -> None:
        link = f"{self.address}?{self.state.query}".rstrip("?")
        try:
            told = {"Python": self.state.python(self.file), "shell": self.state.command(self.file)}
        except ct.CollapseError as fault:
            told = dict.fromkeys(("Python", "shell"), f"# {fault}")
            self.domain.fault.text = str(fault)
        else:
            self.domain.fault.text = ""
        for name, text in (told | {"link": link}).items():
            self.code[name].text = text
        ui.run_javascript(f"history.replaceState(null, '', {json.dumps(link)})")


def serve(port: int, *, show: bool = True) -> None:
    """Serve the page to this machine alone until it is stopped.

    Raises
    ------
    CollapseError
        Where the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            raise ct.CollapseError(
                f"port {port} is taken ({fault.strerror}); another: --port {port % 65535 + 1}"
            ) from None
    address = f"http://{HOST}:{port}/"

    @ui.page("/")
    def index(request: Request) -> None:
        state, faults = State.of_query(request.url.query)
        Page(state, faults, address)

    # A page of elsewhere whose name is made to point here must not read this one.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.on_startup(lambda: print(f"The explorer is at {address}; Ctrl-C ends it.", flush=True))
    ui.run(
        host=HOST,
        port=port,
        title="Reward collapse, explored",
        dark=None,
        reload=False,
        show=show,
        tailwind=False,
        show_welcome_message=False,
    )
