"""The page itself, in NiceGUI: widgets that change a `State`, and show what is computed for it.

Texts of users go into labels, inputs and charts, never into HTML.
"""

from __future__ import annotations

import json
import re
import socket
from base64 import b64encode
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
from collapse_theory.explorer import state

HOST, TITLE = "127.0.0.1", "Reward collapse, explored"
MOST_BYTES = 256 * 2**20  # of a reward log
COLOURS = ("#3b8fd0", "#d55e00", "#009e73", "#cc79a7")  # apart in any sight, on white and black
GREY = "#808080"  # reads on white and on black
UTILITIES = (
    *("log(x + 0.1)", "-1/(x + 0.1)", "logsigmoid(4.0*x)", "x**0.5", "-x**-0.5", "x"),
    *("1 - exp(-3.0*x)", "min(x, 0.5)", "LabelSmoothing(0.1)", "PlackettLuce(beta=1.0)"),
)
TARGETS = ("atoms 0.3 + uniform", "beta(4.0, 2.0)", "levels 4 2 4", "rewards 1.0 0.8 0.3 0")
LOG = """A reward log (CSV, JSON, Parquet), a row a completion. It stays on this machine, is no part
of the link, and is compared with the first page's utilities; a domain counts where it is no box."""


class Slider(ui.slider):
    """A slider that the browser moves by itself: an echo of where it was would throw it back."""

    LOOPBACK = False


class Text:
    """A text that is typed or chosen, a slider for each number in it, and what is wrong with it."""

    def __init__(self, label: str, text: str, choices: Sequence[str], told: Callable) -> None:
        self.text, self.told = text, told
        self.input = ui.input(label, value=text, on_change=self._typed).props("dense debounce=250")
        with self.input.add_slot("append"), _button("expand_more", aria="examples"), ui.menu():
            for choice in choices:
                ui.menu_item(choice, partial(self.input.set_value, choice))
        self.sliders, self.fault = ui.column().classes("stack"), _faulty()
        self._build()

    def _build(self) -> None:
        base, numbers = self.text, [one[0] for one in state.numbers_in(self.text)[:8]]
        places: list[float | None] = [None] * len(numbers)

        def move(i: int, shown: ui.label, event: Any) -> Any:
            places[i], shown.text = event.value, state.moved(numbers[i], [event.value])
            self.text = self.input.value = state.moved(base, places)
            return self.told(self.text)

        self.sliders.clear()
        for i, number in enumerate(numbers):
            with self.sliders, ui.row().classes("slider"):
                shown, slider = ui.label(number), Slider(**state.slider_of(number))
            slider.on_value_change(partial(move, i, shown)).props(f'aria-label="number {i + 1}"')

    def _typed(self, event: Any) -> Any:
        if event.value == self.text:  # a slider wrote it
            return None
        self.text = event.value or ""
        self._build()
        return self.told(self.text)


class Card:
    """A kind of prompts, its utility, and what became of it."""

    def __init__(self, kind: str, text: str, colour: str, told: Callable) -> None:
        self.colour = colour
        with ui.element("div").classes("card").style(f"border-color: {colour}") as self.box:
            name = ui.input("kind of prompts", value=kind, on_change=told)
            self.name = name.props("dense debounce=250")
            self.field = Text("utility U(x) of a gap x", text, UTILITIES, told)
            self.told = ui.label().classes("told")


class Chart(ui.echart):
    """A chart whose colours read on light and on dark ground."""

    def __init__(self, title: str, x: str, y: str, legend: bool = False) -> None:
        text, line = {"color": GREY}, {"lineStyle": {"color": GREY, "opacity": 0.25}}
        axis = {"type": "value", "scale": True, "nameLocation": "middle", "nameTextStyle": text}
        axis |= {"axisLabel": {**text, "hideOverlap": True}, "splitLine": line, "nameGap": 30}
        axis |= {"axisLine": {"onZero": False, "show": True, "lineStyle": text}}
        mass = {**axis, "name": "mass of an atom", "min": 0, "splitLine": {"show": False}}
        still = {"animation": False, "tooltip": {"trigger": "axis", "confine": True}}
        options = still | {
            "title": {"text": title, "textStyle": {**text, "fontSize": 14}, "padding": 0},
            "legend": {"show": legend, "textStyle": text, "top": 20},
            "grid": {"left": 48, "right": 48, "top": 48 if legend else 28, "bottom": 44},
            "xAxis": {**axis, "name": x, "min": "dataMin", "max": "dataMax"},
            "yAxis": [{**axis, "name": y}, mass],
        }
        super().__init__(options)

    def draw(self, series: list[Any], **axis: Any) -> None:
        self.options["series"] = series
        self.options["yAxis"][0].update(axis)
        self.options["yAxis"][1]["show"] = any(one["data"] for one in series if "yAxisIndex" in one)
        self.update()


def _drawn(colour: str, name: str, data: Any, width: float = 2, **more: Any) -> dict[str, Any]:
    look = {"lineStyle": {"color": colour, "width": width}, "itemStyle": {"color": colour}}
    look |= {"showSymbol": False, "symbol": "circle", "symbolSize": 7 if len(data) <= 40 else 4}
    return {"name": name, "data": data, "type": "line", **look, **more}


def _button(icon: str, text: str = "", do: Any = None, aria: str = "") -> ui.button:
    made = ui.button(text, icon=icon, on_click=do).props("flat dense no-caps")
    return made.props(f'round aria-label="{aria}"') if aria else made


def _faulty(text: str = "") -> ui.label:
    return ui.label(text).classes("fault").props("role=alert")


class Page:
    """One visitor's page: `_set` is where every widget leads to."""

    def __init__(self, now: state.State, faults: Sequence[str], address: str) -> None:
        self.state, self.address, self.file = now, address, "rewards.csv"
        # By view: what was asked last, what waits for an answer, what is saved as a figure.
        self.asked, self.waiting, self.figures = {}, {}, dict[str, Callable[[Any], Any]]()
        self.busy = set[str]()
        ui.add_css(Path(__file__).parent / "page.css")
        with ui.element("main").classes("page"):
            ui.label(TITLE).classes("title").props("role=heading")
            for fault in faults[:8]:
                _faulty(f"in the link: {fault}")
            tabs = ui.tabs(on_change=lambda e: self._set(view=e.value)).props("dense no-caps")
            with tabs:
                for view, name in state.VIEWS.items():
                    ui.tab(view, name)
            with ui.tab_panels(tabs, value=now.view).classes("panels"):
                for view in state.VIEWS:
                    with ui.tab_panel(view), ui.element("div").classes("sides"):
                        getattr(self, f"_build_{view}")()
            _button("download", "save the figure", self._save)
            with ui.element("div").classes("codes"):
                self.codes = list(map(self._build_code, ("in Python", "in a shell", "as a link")))
        ui.timer(0.01, self._set, once=True)

    async def _set(self, **changes: Any) -> None:
        """Take another state, show its code, and compute what wasn't asked for yet."""
        self.state = now = replace(self.state, **changes)
        self._show_code()
        await self._ask("predict", replace(now, target="", view=""), state.answers_of)
        if now.view == "design":
            await self._ask("design", now.target, ct.design)

    async def _set_one(self, name: str, text: str) -> None:
        await self._set(**{name: text})

    async def _ask(self, view: str, question: Any, compute: Callable[[Any], Any]) -> None:
        """Show the answer, or what is wrong; none waits behind a slow one that nobody needs."""
        if self.asked.get(view) == question:
            return
        self.asked[view] = self.waiting[view] = question
        while view in self.waiting and view not in self.busy:
            self.busy.add(view)
            found, fault = None, ""
            try:
                found = await run.io_bound(compute, self.waiting.pop(view))
            except state.FAULTS as wrong:
                fault = str(wrong)
            finally:
                self.busy.discard(view)
            if view not in self.waiting:
                self.figures.pop(view, None)
                getattr(self, f"_show_{view}")(found, fault)

    def _build_predict(self) -> None:
        with ui.element("div").classes("stack"):
            with ui.row().classes("slider"):
                size, slider = ui.label(), Slider(min=2, max=state.LARGEST, value=self.state.n)
            size.bind_text_from(slider, "value", lambda n: f"n = {n:.0f}")
            slider.on_value_change(lambda event: self._set(n=round(event.value or 2)))
            slider.props('aria-label="completions"')
            told = partial(self._set_one, "domain")
            self.domain = Text("domain", self.state.domain, state.DOMAINS, told)
            rows = zip([*self.state.rows, *[("", "")] * state.MOST], COLOURS, strict=False)
            self.cards = [Card(*row, colour, self._rows) for row, colour in rows]
        with ui.element("div").classes("charts"):
            self.laws = Chart("Limit law", "reward", "density")
            self.rewards = Chart("Rewards of n completions", "rank", "reward")
            self.curves = Chart("Utility, mapped to [0, 1]", "gap", "U")

    def _filled(self) -> list[Card]:
        return [card for card in self.cards if card.field.text.strip()]

    async def _rows(self, _: Any = None) -> None:
        await self._set(rows=tuple((c.name.value or "", c.field.text) for c in self._filled()))

    def _show_predict(self, found: list[state.Answer], _: str) -> None:
        filled = self._filled()
        empty = [card for card in self.cards if card not in filled]
        for card in self.cards:
            card.box.set_visibility(card not in empty[1:])
            card.field.fault.text = card.told.text = ""
        curves, laws, rewards = [], [], []
        width = max((float(np.ptp(a.solution.rewards)) for a in found if a.solution), default=1.0)
        for i, (a, card) in enumerate(zip(found, filled, strict=True)):
            card.field.fault.text, card.told.text = a.fault, a.told
            line, ranks = partial(_drawn, card.colour), np.arange(self.state.n) + 1
            if a.solution:
                points = state.curve(ranks, a.solution.rewards)
                rewards.append(line(a.kind, points, type="scatter"))
                curves.append(line(a.kind, state.utility_curve(a, width)))
            if a.law:
                rewards.append(line(f"{a.kind}, law", state.curve(ranks, a.quantiles), 1))
                laws.append(line(a.kind, state.density_curve(a.law)))
                stems = state.atom_stems(a.law)  # ever thinner: those in one place can be seen
                laws.append(line(f"{a.kind}, atoms", stems, 4 - i, yAxisIndex=1, showSymbol=True))
        self.laws.draw(laws, min=0, max=state.height([one["data"] for one in laws[::2]]))
        self.rewards.draw(rewards)
        self.curves.draw(curves, min=-0.2, max=1, interval=0.2)
        self.figures["predict"] = partial(state.draw_answers, found)

    def _build_design(self) -> None:
        with ui.element("div").classes("stack"):
            told = partial(self._set_one, "target")
            self.target = Text("wanted law", self.state.target, TARGETS, told)
            self.design_told = ui.label().classes("told")
        with ui.element("div").classes("charts"):
            self.quantiles = Chart("Quantiles", "share of rewards below", "reward", legend=True)

    def _show_design(self, found: ct.Design | None, fault: str) -> None:
        self.target.fault.text = fault
        self.design_told.text = state.design_told(found) if found else ""
        curves = state.design_curves(found) if found else {}
        looks = zip((GREY, *COLOURS), (6, 2, 2), curves.items(), strict=False)
        self.quantiles.draw([_drawn(colour, *one, width) for colour, width, one in looks])
        if found:
            self.figures["design"] = partial(ct.figures.design, found)

    def _build_log(self) -> None:
        with ui.element("div").classes("stack"):
            ui.label(LOG)
            place = ui.upload(auto_upload=True, max_file_size=MOST_BYTES, on_upload=self._uploaded)
            place.on("rejected", partial(ui.notify, "too large")).props("label='drop it here'")
            self.log_fault, self.log_told = _faulty(), ui.label().classes("told")
        with ui.element("div").classes("picture"):
            self.image = ui.image().props('alt="the diagnosis, drawn" no-spinner')

    async def _uploaded(self, event: Any) -> None:
        self.log_told.text, self.log_fault.text = "reading ...", ""
        self.file = re.sub(r"[^\w.-]", "_", Path(event.file.name).name)[-100:] or "log"
        self._show_code()
        content = await event.file.read()
        await self._ask("log", (self.state, self.file, content), state.diagnosed)

    def _show_log(self, found: Any, fault: str) -> None:
        self.log_fault.text, self.log_told.text = fault, ""
        self.image.set_visibility(found is not None)
        if found is not None:
            self.log_told.text = state.diagnosis_told(found[0])
            self.image.set_source(f"data:image/svg+xml;base64,{b64encode(found[1]).decode()}")
            self.figures["log"] = partial(ct.figures.diagnosis, found[0])

    async def _save(self) -> None:
        if draw := self.figures.get(self.state.view):
            content: Any = await run.io_bound(state.figure_bytes, draw)
            ui.download.content(content, f"{self.state.view}.svg")
        else:
            ui.notify("there is nothing to draw yet")

    def _build_code(self, name: str) -> ui.label:
        with ui.element("div").classes("code"):
            with ui.row().classes("line"):
                ui.label(f"The same {name}")
                _button("content_copy", do=lambda: ui.clipboard.write(text.text), aria="copy")
            text = ui.label().classes("source")
        return text

    def _show_code(self) -> None:
        link = f"{self.address}?{self.state.query}".rstrip("?")
        try:
            (python, shell), self.domain.fault.text = self.state.code(self.file), ""
        except ct.CollapseError as fault:
            python, shell, self.domain.fault.text = "", "", str(fault)
        for label, text in zip(self.codes, (python, shell, link), strict=True):
            label.text = text
        ui.run_javascript(f"history.replaceState(null, '', {json.dumps(link)})")


def serve(port: int, *, show: bool = True) -> None:
    """Serve the page to this machine alone until it is stopped; a taken port is a CollapseError."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise ct.CollapseError(f"port {port} is taken: --port takes another")
    address = f"http://{HOST}:{port}/"

    @ui.page("/")
    def index(request: Request) -> None:
        Page(*state.State.of_query(request.url.query), address)

    # A page of elsewhere whose name is made to point here must not read this one.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.on_startup(lambda: print(f"The explorer is at {address}; Ctrl-C ends it.", flush=True))
    look: Any = {"title": TITLE, "dark": None, "tailwind": False, "show_welcome_message": False}
    ui.run(host=HOST, port=port, reload=False, show=show, **look)
