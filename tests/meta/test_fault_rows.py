"""Every row of the table "Bad input and faults" has a test, and this says which."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = "tests/unit/table/test_faults.py"
AUDIT = "tests/unit/audit/test_fault_table.py"
PLACES = "tests/faults/test_places.py"
STREAMS = "tests/faults/test_streams.py"
STOPPED = "tests/faults/test_interrupted.py"
DAMAGE = "tests/faults/test_damage.py"
REFUSED = "test_refused_in_one_line_before_anything_is_written"
WENT_ON = "test_goes_on_with_finite_numbers_and_says_so"


def read(*cases):
    """Cases of the tests of reading."""
    names = {"R": "test_refused", "W": "test_warned", "I": "test_inspected", "A": "test_accepted"}
    return [f"{TABLE}::{names[case[0]]}[{case[2:]}]" for case in cases]


def audited(*cases):
    """Cases of the tests of a whole audit: R refused, W went on."""
    return [f"{AUDIT}::{REFUSED if case[0] == 'R' else WENT_ON}[{case[2:]}]" for case in cases]


# The rows of the table, in its words; what must come of it; where that is tested.
ROWS = {
    ("empty file / header only", "R"): [
        *read("R empty file", "R header only"),
        *audited("R empty file", "R header only"),
    ],
    ("one row / one class / class of one row", "R R W"): audited(
        "R one row",
        "R two rows",
        "R one class",
        "R no label in any row",
        "W class of one row",
    ),
    ("label column absent or differing by case or space", "R"): [
        *audited("R label absent", "R label differs by case"),
        f"{TABLE}::test_label_refused[label differs by space]",
    ],
    ("duplicate column names", "R"): [
        *read("R duplicate column names"),
        *audited("W duplicate names renamed"),
    ],
    ("blank column name", "W"): audited("W blank column name"),
    ("row too long / too short", "R"): [
        *read("R row too long", "R row too long after a cell of two lines", "R row too short"),
        *audited("R row too short"),
    ],
    ("BOM / UTF-16 with BOM", "A"): read("A BOM", "A UTF-16 with BOM"),
    ("latin-1 bytes", "R"): read("R latin-1 bytes", "A latin-1 when said"),
    ("NUL in text", "W"): [*read("W NUL in text"), *audited("W NUL in text")],
    ("007 ids", "text"): [*read("W 007 ids"), *audited("W 007 ids")],
    ("NA, null, None as a category", "kept"): [
        *read("W NA as a category"),
        *audited("W NA as a category"),
    ],
    ("integer beyond 64 bits", "text, W"): [
        *read("W integer beyond 64 bits"),
        *audited("W integer beyond 64 bits"),
    ],
    ("inf, 1e400", "W"): [*read("W inf", "W 1e400"), *audited("W inf and 1e400")],
    ("missing label", "W"): [*read("I missing label"), *audited("W missing label")],
    ("type changes at row 5,001", "text, W"): read("W type changes at row 5,001"),
    ("; separator", "W"): read("W semicolon separator"),
    ("decimal comma", "W"): read("W decimal comma"),
    ("newline inside quotes / unclosed quote", "A R"): read(
        "A newline inside quotes", "R unclosed quote", "R unclosed quote in a long row"
    ),
    ("blank lines", "counted"): read("W blank lines"),
    ("impossible date", "text, W"): read("W impossible date"),
    ("mixed time zones", "W"): read("W mixed time zones"),
    ("JSONL: missing key / bad line / duplicate key", "A R R"): read(
        "A JSONL missing key and null", "R JSONL bad line", "R JSONL duplicate key"
    ),
    ("nested Parquet column", "R"): read("R nested Parquet column", "A Parquet nested but dropped"),
    ("Parquet dictionary, decimal, bool, null type", "A"): read(
        "A Parquet dictionary", "A Parquet decimal", "A Parquet bool", "A Parquet null type"
    ),
    ("truncated Parquet or gzip", "R"): read(
        "R truncated Parquet", "R truncated gzip", "R damaged gzip"
    ),
    ("gzip bomb", "R, memory bounded"): [
        *read("R gzip bomb of many lines", "R gzip bomb of one line", "R Parquet bomb"),
        *audited("R gzip bomb"),
        f"{PLACES}::test_a_gzip_bomb_takes_no_memory",
    ],
    ("one cell of 100 MB", "R"): [
        *read("R one cell of 100 MB", "R one cell of 20 MB"),
        *audited("W a cell of 2 MB", "W a text of 20,000 words"),
        f"{PLACES}::test_one_cell_of_100_mb",
    ],
    ("100,000 columns x 50 rows", "runs or 5"): [
        f"{PLACES}::test_100_000_columns_of_50_rows",
        f"{PLACES}::test_2_100_columns_of_30_rows_to_the_end",
        f"{TABLE}::test_many_columns",
    ],
    ("constant column", "W, p = 1"): [
        *audited("W constant column", "R only a constant column", "R only an empty column"),
        f"{PLACES}::test_a_constant_column_is_left_out_and_its_p_value_is_one",
    ],
    ("all-distinct text, ids", "W, left out"): [
        *audited("W all-distinct text", "R only an identifier", "W a category of one level a row"),
        *read("I all-distinct ids"),
    ],
    ("column equal to the label", "W, first"): [
        *audited("W column equal to the label", "R only the label again"),
        f"{AUDIT}::test_a_leak_comes_first_and_kept_leaks_are_said_to_be_used",
    ],
    ("duplicate rows with conflicting labels", "W, counted"): [
        *audited("W conflicting duplicates"),
        *read("I duplicate rows with conflicting labels"),
    ],
    ("collinear, more columns than rows", "A, finite"): audited(
        "W collinear", "W more columns than rows"
    ),
    ("scales 1e-300 to 1e300", "finite or R"): audited("W scales from 1e-300 to 1e300"),
    ("1,000 classes / one label a row", "A R"): [
        f"{TABLE}::test_thousand_classes_and_long_labels_of_any_script",
        f"{PLACES}::test_very_many_classes_to_the_end",
        *audited("R one label a row"),
        f"{AUDIT}::test_an_audit_by_a_number_looks_like_regression",
    ],
    ("labels in any script, 10 KB long", "A, cut"): audited(
        "W labels in any script", "W labels of 10 KB"
    ),
    ("hostile markup in header, cell, label or file name", "shown as text"): [
        f"{PLACES}::test_hostile_text_is_text_on_the_page",
        f"{PLACES}::test_hostile_text_does_nothing_in_chromium",
        "tests/unit/report/test_hostile.py::test_each_place_alone_is_inert",
        "tests/unit/report/test_chromium.py::test_hostile_markup_runs_nothing_and_asks_for_nothing",
    ],
    ("cell beginning =, +, -, @", "quoted in CSV, exact in JSON"): [
        f"{PLACES}::test_formulas_are_quoted_in_csv_and_exact_in_json",
        "tests/unit/store/test_csv_file.py::test_formulas_are_quoted",
    ],
    ("output path existing / not writable / a link", "R"): [
        f"{AUDIT}::test_output_in_the_way",
        f"{AUDIT}::test_a_forced_link_is_replaced_and_its_target_kept",
        "tests/unit/store/test_run_folder.py::test_unwritable_places_are_output_errors",
        "tests/unit/store/test_run_folder.py::test_existing_output_is_refused_unless_forced",
    ],
    ("terminal escape codes in names", "stripped on screen"): [
        f"{AUDIT}::test_escapes_in_names_are_not_obeyed",
        f"{PLACES}::test_hostile_text_does_not_steer_the_terminal",
    ],
    ("model: truncated, flipped bit, keys, pickle, newer schema", "R"): [
        f"{AUDIT}::test_damaged_models_are_refused",
        f"{DAMAGE}::test_every_reader_is_here",
        f"{DAMAGE}::test_at_a_hundred_random_offsets",
        f"{DAMAGE}::test_made_up_files",
        f"{DAMAGE}::test_a_newer_form_is_refused",
        f"{DAMAGE}::test_a_damaged_block_runs_again",
        f"{DAMAGE}::test_a_damaged_stage_runs_again",
        "tests/unit/store/test_model.py::test_a_forged_manifest_is_refused",
    ],
    ("NaN gradient or diverging tune", "stopped, closed form kept, W"): [
        "tests/unit/audit/test_tune.py::test_a_gradient_that_is_no_number_stops_the_stage",
        "tests/unit/audit/test_tune.py::test_a_training_that_runs_away_is_stopped",
        "tests/unit/audit/test_tune.py::test_a_stopped_stage_is_a_warning",
    ],
    ("user metric raises, returns NaN, alters its input", "named error"): [
        f"{AUDIT}::test_user_metric_that_fails",
        "tests/unit/audit/test_tune.py::test_a_function_that_fails_is_a_named_error",
    ],
    ("SIGINT, SIGTERM, SIGKILL at any moment", "resumes to the same bits"): [
        f"{STOPPED}::test_a_signal_at_a_random_moment",
        f"{STOPPED}::test_a_run_ended_late_goes_on_from_its_journal",
        f"{STREAMS}::test_a_lost_signal_is_raised_again",
        f"{STREAMS}::test_an_interruption_that_became_another_error",
        f"{STREAMS}::test_signals_before_the_verb_begins",
        "tests/unit/cli/test_process.py::test_a_signal_then_the_same_command_gives_the_same_bits",
    ],
    ("disk full at the n-th write, crash before rename", "5, old files intact"): [
        f"{STOPPED}::test_a_full_disk_at_the_nth_step",
        f"{STOPPED}::test_a_crash_at_the_nth_step",
        f"{STOPPED}::test_a_run_written_over_keeps_old_files_or_has_new_ones",
        "tests/unit/store/test_run_folder.py::test_disk_full_at_any_step_resumes_to_the_same_files",
    ],
    ("two runs into one folder", "second R"): [
        f"{PLACES}::test_a_second_run_into_one_folder_is_refused_while_the_first_is_at_work",
        "tests/unit/audit/test_run.py::test_two_runs_into_one_folder",
        "tests/unit/store/test_run_folder.py::test_of_many_at_once_one_gets_the_folder",
    ],
    ("worker killed, hangs or raises", "same bits / retry / the error"): [
        "tests/unit/parallel/test_executors.py::test_the_original_error_and_where_it_was_raised",
        "tests/unit/parallel/test_executors.py::test_the_same_bits_as_one_after_the_other",
        *(
            f"tests/unit/parallel/{where}::{name}"
            for where, names in {
                "test_workers.py": (
                    "test_a_worker_killed_by_its_pid",
                    "test_a_worker_that_hangs_is_killed_with_all_it_started",
                    "test_a_block_that_kills_every_worker_is_named",
                    "test_a_parent_killed_goes_on_where_it_was",
                ),
                "test_dask.py": (
                    "test_a_worker_killed_by_its_pid",
                    "test_a_worker_that_hangs_is_killed",
                ),
            }.items()
            for name in names
        ),
        "tests/unit/audit/test_workers.py::test_a_killed_worker_changes_no_bit",
        "tests/unit/audit/test_workers.py::test_a_killed_audit_goes_on_where_it_was_block_by_block",
    ],
    ("memory limit reached", "5 with an estimate"): [
        "tests/faults/test_memory.py::test_an_audit_ends_with_code_5_and_a_figure",
        f"{AUDIT}::test_memory_limit_is_told_with_a_figure",
    ],
    ("network forbidden", "works"): [
        f"{PLACES}::test_no_home_no_network",
        "tests/unit/cli/test_process.py::test_plain_locale_no_home_no_network",
    ],
    ("HOME unwritable", "works"): [f"{PLACES}::test_no_home_no_network"],
    ("no TTY", "works"): [f"{STREAMS}::test_a_terminal_is_not_needed_and_not_steered"],
    ("LANG=C", "works"): [
        f"{STREAMS}::test_shells",
        "tests/unit/cli/test_process.py::test_plain_locale_no_home_no_network",
    ],
    ("broken pipe", "works"): [
        f"{STREAMS}::test_a_reader_that_left_before_the_first_word",
        f"{STREAMS}::test_a_gate_trips_whether_anyone_reads_or_not",
        f"{STREAMS}::test_an_audit_goes_on_when_nobody_reads_its_progress",
        f"{STREAMS}::test_shells",
        "tests/unit/cli/test_process.py::test_a_closed_pipe_is_no_fault",
    ],
    ("seed given / not", "equal / printed and stored"): [
        f"{PLACES}::test_a_seed_given_or_not_is_printed_and_stored",
        "tests/unit/audit/test_run.py::test_same_seed_same_bits",
    ],
}


@cache
def parts(path: str) -> tuple[set[str], set[str]]:
    """The tests of a file by name, and every text in it, among them the names of cases."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return tests, texts


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    name, _, case = name.removesuffix("]").partition("[")
    if not (ROOT / path).exists():
        return False
    tests, texts = parts(path)
    return name.startswith("test_") and name in tests and (not case or case in texts)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_has_its_tests(row: tuple[str, str]) -> None:
    assert ROWS[row]
    assert [test for test in ROWS[row] if not exists(test)] == []


def test_no_row_is_lost() -> None:
    """The table has 25 lines of two cells each; one of them names five faults at once."""
    assert len(ROWS) == 2 * 25 + 4


def test_the_check_can_fail() -> None:
    assert not exists(f"{AUDIT}::test_nothing")
    assert not exists(f"{AUDIT}::{WENT_ON}[no such case]")
    assert not exists("tests/none.py::test_nothing")
