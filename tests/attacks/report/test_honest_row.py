"""What is left of the sum: by clients, with noise and without, of measured cells alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secagg_attacks.matrix.attacks import COLUMNS
from secagg_attacks.report.honest_row import honest_row
from tests.attacks.report.whole_table import of, whole

MEANS = tuple(name for name in COLUMNS if name.startswith("mean-"))
SUMS = tuple(
    name for name, column in COLUMNS.items() if (column.family, column.seen) == ("membership", "sum")
)


def labels(found):
    return [words.partition(":")[0] for _, words in found.legend]


def without(outcome, defence, attacks):
    """The same table, where these cells were not run."""
    changed = [
        replace(each, measurement=replace(each.measurement, status="not run", value=None), verdict="not run")
        if each.measurement.defence == defence and each.measurement.attack in attacks
        else each
        for each in outcome.findings
    ]
    kept = {
        key: arrays for key, arrays in outcome.arrays.items() if not (key[0] == defence and key[1] in attacks)
    }
    return replace(outcome, findings=tuple(changed), arrays=kept)


def test_one_line_stands_for_all_without_noise_and_each_noise_has_its_own():
    noised = ["masks-client-50", "masks-client-8", "masks-client-1", "none-example-8", "masks-example-8"]
    assert labels(honest_row(whole())) == ["masks", *noised, "chance"]


def test_the_mean_of_one_is_an_upload_in_the_clear():
    found = honest_row(of(("inverting", *MEANS), ("none", "masks", "masks-client-8")))
    plain, noised = found.chart.partition("masks: ")[2].split("masks-client-8: ")
    assert "31.5 dB of 1," in plain
    assert " dB of 1," not in noised.partition("chance")[0] and "9.1 dB of 2," in noised


def test_uploads_with_noise_of_their_own_are_a_mean_of_one_where_nothing_hides_them():
    found = honest_row(of(("inverting", *MEANS), ("none", "none-example-8", "masks-example-8")))
    bare, masked = found.chart.partition("none-example-8: ")[2].split("masks-example-8: ")
    assert "9.1 dB of 1," in bare
    assert " dB of 1," not in masked.partition("chance")[0]


def test_membership_is_told_beside_the_number_of_clients_with_noise_and_without():
    asked = honest_row(whole()).membership
    assert asked.heads[0] == ("masks", "no noise")
    assert ("masks-client-8", "noise of ε 8 on clients") in asked.heads
    assert [title for title, _, _ in asked.rows] == [COLUMNS[name].title for name in SUMS]
    assert {clients for _, clients, _ in asked.rows} == {"8 clients"}
    assert {cells[0] for _, _, cells in asked.rows} == {("leaks", "AUC 0.950", "0.900 to 0.970")}
    assert {cells[2] for _, _, cells in asked.rows} == {("chance", "AUC 0.510", "0.460 to 0.560")}


def test_what_was_not_measured_is_not_drawn():
    gone = without(whole(), "masks-client-8", (*MEANS, *SUMS))
    assert "masks-client-8" not in labels(honest_row(gone))
    assert "masks-client-8" not in [name for name, _ in honest_row(gone).membership.heads]
    part = honest_row(without(whole(), "masks", MEANS[1:]))
    assert len(part.strips) == 2


def test_another_row_without_noise_takes_the_place_of_masks():
    gone = without(whole(), "masks", (*MEANS, *SUMS))
    assert labels(honest_row(gone))[0] == "bfv"
    assert labels(honest_row(of(MEANS, ("none",)))) == ["none", "chance"]


@pytest.mark.parametrize("attacks", [("analytic",), ("audit",)])
def test_a_table_without_attacks_on_sums_has_no_such_row(attacks):
    assert honest_row(of(attacks)) is None


def test_membership_alone_has_a_table_and_no_chart():
    found = honest_row(of(SUMS))
    assert (found.chart, found.strips) == ("", ())
    assert found.membership is not None
    assert honest_row(of(MEANS)).membership is None
