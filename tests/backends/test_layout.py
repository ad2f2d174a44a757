"""Layout around attention: what goes into windows comes back, and masks hide what the definition hides."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnbench.backends.layout import partition, reverse
from attnbench.backends.masks import relative_position_index, score_mask, window_bias
from attnbench.core.problem import Problem
from tests.samples import problem

CPU = torch.device("cpu")


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    return problem(
        batch=draw(st.integers(1, 3)),
        height=height,
        width=width,
        window_height=draw(st.integers(1, height)),
        window_width=draw(st.integers(1, width)),
        pattern=draw(st.sampled_from(["grouped", "shifted"])),
        padding=draw(st.sampled_from(["zero", "masked"])),
    )


@given(problems())
@settings(deadline=None)
def test_reverse_undoes_partition(asked: Problem) -> None:
    x = torch.randn(asked.batch, asked.height, asked.width, 2, 3)
    windows = partition(x, asked)
    assert windows.shape == (asked.batch * asked.windows, asked.tokens, 2, 3)
    assert torch.equal(reverse(windows, asked), x)


@given(problems())
@settings(deadline=None)
def test_the_mask_hides_exactly_what_the_definition_hides(asked: Problem) -> None:
    rows, columns = asked.rows, asked.columns
    # Every token carries its place on the padded map into its window; -1 where it was padded.
    places = torch.arange(asked.height * asked.width).view(1, asked.height, asked.width) + 1
    windows = partition(places.expand(asked.batch, -1, -1), asked)[: asked.windows] - 1
    mask = score_mask(asked, device=CPU)
    visible = torch.ones(asked.windows, asked.tokens, asked.tokens, dtype=torch.bool)
    if mask is not None:
        assert mask.shape == (asked.windows, 1, asked.tokens, asked.tokens)
        visible = mask[:, 0] == 0

    def group(place: int) -> tuple[int, int]:
        y, x = divmod(place, asked.width)
        return (y + rows.window - rows.shift) // rows.window, (x + columns.window - columns.shift) // columns.window

    for window, tokens in enumerate(windows.tolist()):
        for query, query_place in enumerate(tokens):
            assert visible[window, query].any(), "a row without any key would be NaN"
            for key, key_place in enumerate(tokens):
                if query_place >= 0 and key_place >= 0:
                    assert visible[window, query, key] == (group(query_place) == group(key_place))
                elif query_place >= 0 and asked.padding == "masked":
                    assert not visible[window, query, key]


@given(st.integers(1, 5), st.integers(1, 5))
def test_displacements_have_rows_of_the_table_of_their_own(height: int, width: int) -> None:
    index = relative_position_index(height, width, device=CPU).view(height, width, height, width).tolist()
    rows: dict[tuple[int, int], int] = {}
    for y in range(height):
        for x in range(width):
            for key_y in range(height):
                for key_x in range(width):
                    row = index[y][x][key_y][key_x]
                    assert rows.setdefault((y - key_y, x - key_x), row) == row
    assert sorted(rows.values()) == list(range((2 * height - 1) * (2 * width - 1)))


def test_a_mask_is_repeated_for_every_image_and_a_bias_alone_is_not() -> None:
    asked = problem(batch=3, pattern="shifted", heads=4)
    added = window_bias(asked, device=CPU, bias=None, alignment=8)()
    assert added is not None
    assert added.shape == (3 * 4, 1, 49, 49)
    assert added.stride(2) == 56
    table = torch.randn(169, 4)
    alone = window_bias(problem(batch=3, heads=4, bias="relative"), device=CPU, bias=table)()
    assert alone is not None
    assert alone.shape == (1, 4, 49, 49)
    mask = score_mask(asked, device=CPU)
    assert mask is not None
    assert torch.equal(added.unflatten(0, (3, 4))[2], mask)
