"""Every rule that a note of a step keeps, broken once: refused before it is replayed."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trivium.pathkernel import Recording, record
from trivium.pathkernel.note_form import NoteForm, check_rows
from trivium.pathkernel.packed import ROW


@pytest.fixture(scope="module", params=[False, True], ids=["rows kept once", "augmented"])
def recording(request: pytest.FixtureRequest) -> Recording:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters())
    x, y = torch.randn(6, 3), torch.arange(6) % 2
    with record(net, optimizer, cross_entropy, augmented=request.param) as found:
        found.batch(range(6))
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()
    return found


def form_of(recording: Recording) -> NoteForm:
    return NoteForm.of(recording._replay, recording.settings.augmented)


def piece(**values: Any) -> Callable[[Any], None]:
    return lambda note: vars(note.pieces[0]).update(values)


def call(**values: Any) -> Callable[[Any], None]:
    def change(note: Any) -> None:
        note.pieces[0].call = dataclasses.replace(note.pieces[0].call, **values)

    return change


def lacking(note: Any) -> None:
    del note.pieces[0].modes


ODD: list[tuple[Callable[[Any], None], str]] = [
    (lambda note: vars(note).update(extra=1), "no StepNote"),
    (lambda note: vars(note).update(moved=(True,)), "weights of another model"),
    (lambda note: vars(note).update(moved=[True] * 4), "weights of another model"),
    (lambda note: vars(note).update(moved=(1,) * 4), "weights of another model"),
    (lambda note: vars(note).update(norms=[1.0]), "norms of other gradients"),
    (lambda note: vars(note).update(norms=torch.ones(3)), "norms of other gradients"),
    (lambda note: vars(note).update(norms=torch.ones(4).long()), "norms of other gradients"),
    (lambda note: vars(note).update(options=None), "options that are none"),
    (lambda note: vars(note).update(options=[]), "groups of another optimizer"),
    (lambda note: note.options[0].update(lr="fast"), "another kind of lr"),
    (lambda note: note.options[0].update(lr=True), "another kind of lr"),
    (lambda note: note.options[0].update(betas=(0.9,)), "another kind of betas"),
    (lambda note: note.options[0].update(amsgrad=1.0), "another kind of amsgrad"),
    (lambda note: vars(note).update(pieces=[1]), "no forwards"),
    (lambda note: vars(note).update(dropped=()), "no forwards"),
    (lacking, "no Piece"),
    (piece(places=torch.ones(6)), "places that are none"),
    (piece(places=torch.zeros(2, 3).long()), "places that are none"),
    (piece(places=torch.zeros(0).long()), "places that are none"),
    (piece(places=torch.arange(6) - 1), "a row that is not there"),
    (piece(places=torch.arange(6) + 1), "a row that is not there"),
    (piece(inputs=None), "no call"),
    (piece(call=3), "no call"),
    (piece(modes=(True,)), "no modes"),
    (piece(autocast={"cpu": 16}), "no autocast"),
    (piece(autocast={1: torch.float16}), "no autocast"),
    (piece(random={"cpu": torch.zeros(3)}), "no states of generators"),
    (piece(upstream=1.0), "no gradient"),
    (call(leaf=-1), "no output"),
    (call(leaf=True), "no output"),
    (call(shape=(2.0,)), "shapes that are none"),
    (call(shape=(-1, 2)), "shapes that are none"),
    (call(target_shape=(7,)), "a target of another size"),
    (call(axes=(0, 2)), "axes that are none"),
    (call(arguments=[]), "no arguments"),
    (call(named={1: 2}), "an argument without a name"),
    (call(dtype="float32"), "no dtype"),
]


@pytest.mark.parametrize(("change", "said"), ODD)
def test_an_odd_note_is_refused(
    change: Callable[[Any], None], said: str, recording: Recording
) -> None:
    form, rows = form_of(recording), recording.rows.all_leaves()
    note = copy.deepcopy(recording.notes[0])
    vars(note.pieces[0])["inputs"] = recording.notes[0].pieces[0].inputs  # its mark is one
    form.check(note, rows, 6)
    change(note)
    with pytest.raises(ValueError, match=said):
        form.check(note, rows, 6)


def test_rows_of_its_own_where_none_are_kept_and_none_where_they_are(recording: Recording) -> None:
    note = copy.copy(recording.notes[0])
    one = copy.copy(note.pieces[0])
    note.pieces = [one]
    augmented = one.leaves is not None
    one.leaves = None if augmented else [torch.zeros(6, 3), torch.zeros(6)]
    with pytest.raises(ValueError, match="no own rows" if augmented else "rows of its own"):
        form_of(recording).check(note, recording.rows.all_leaves(), 6)


def test_a_call_with_more_rows_than_are_kept(recording: Recording) -> None:
    note = copy.copy(recording.notes[0])
    one = copy.copy(note.pieces[0])
    note.pieces = [one]
    one.inputs = dataclasses.replace(one.inputs, leaves=(ROW, ROW))
    with pytest.raises(ValueError, match="arguments of another call"):
        form_of(recording).check(note, recording.rows.all_leaves(), 6)


def test_a_flag_that_another_torch_did_not_have_is_as_it_is(recording: Recording) -> None:
    note = copy.deepcopy(recording.notes[0])
    vars(note.pieces[0])["inputs"] = recording.notes[0].pieces[0].inputs
    del note.options[0]["amsgrad"]
    form_of(recording).check(note, recording.rows.all_leaves(), 6)
    assert note.options[0]["amsgrad"] is False
    del note.options[0]["lr"]
    with pytest.raises(KeyError, match="lr"):
        form_of(recording).check(note, recording.rows.all_leaves(), 6)


TWO = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("ids", "leaves", "said"),
    [
        ((1, 2), [TWO], "no lists"),
        ([1, 1], [TWO], "a row twice"),
        ([1, 9], [TWO], "a row twice"),
        ([1], [TWO], "rows without an id"),
        ([1, 2], [torch.tensor(1.0)], "rows without an id"),
        ([1, 2], [3], "rows without an id"),
        ([1], [], "ids without rows"),
        ([1, 2], [TWO.double()], "rows of another form"),
        ([1, 2], [TWO, TWO], "rows of another form"),
        ([1, 2], [TWO[:, :2]], "rows of another form"),
    ],
)
def test_odd_rows_are_refused(ids: Any, leaves: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_rows(ids, leaves, [[], [TWO]], {9})
    check_rows([1, 2], [TWO], [[], [TWO]], {9})
    check_rows([], [], [[], [TWO]], {9})
