"""What belongs to a task follows from names; on a small project made up for it."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from seqmodels.launch.forking import leaving_out
from seqmodels.launch.forking.names import renamed, wrapped

FILES = {
    "configs/model/plain.yaml": "model:\n  _target_: p.tasks.Plain\n",
    "configs/model/odd.yaml": "model:\n  _target_: p.tasks.Odd\n  head: odd_head\n",
    "configs/experiment/odd_one.yaml": "defaults:\n  - override /model: odd\n",
    "configs/train.yaml": """
        defaults:
          - model: plain # plain, odd
        speed: 1 # faster (odd tasks: slower); see README
        oddness: 2 # odd: how much
        """,
    "src/p/tasks/__init__.py": """
        from p.tasks.odd import Odd
        from p.tasks.plain import Plain, shared

        __all__ = ["Odd", "Plain", "shared"]
        """,
    "src/p/tasks/plain.py": """
        from p.helpers import for_both


        class Plain:
            contract = Contract(target="class")

            def use(self):
                return for_both()


        def shared(task, many):
            if task == "odd":
                from p.tasks import Odd

                return Odd()
            return Plain()
        """,
    "src/p/tasks/odd.py": """
        from p.helpers import for_both, for_odd


        class Odd:
            contract = Contract(target="pairs")
            value = (for_both(), for_odd())
        """,
    "src/p/helpers.py": """
        import json
        import math


        def for_both():
            return math.pi


        # this comment goes along
        def for_odd():
            return json.dumps(1)
        """,
    "src/p/heads.py": """
        class OddOutput:
            targets = ("pairs",)


        class OddHead(Head, name="odd_head"):
            output = OddOutput


        class PlainHead(Head, name="plain_head"):
            pass
        """,
    "tests/test_p.py": """
        import pytest
        from p.heads import OddHead, PlainHead
        from p.helpers import for_odd
        from p.tasks import shared

        HEADS = ("odd_head", "plain_head")
        COMMAND = ("model=odd", "seed=1")


        @pytest.fixture
        def odd():
            return for_odd()


        @pytest.mark.parametrize("head", ["odd_head", "plain_head"])
        def test_heads(head):
            assert head in HEADS


        @pytest.mark.parametrize(
            ("task", "head"),
            [
                (1, OddHead),
                # plain
                (2, PlainHead),
            ],
        )
        def test_classes(task, head):
            assert shared(task, head)


        def test_with_fixture(odd):
            assert odd


        def test_command():
            assert run(*COMMAND)
        """,
}


def left(name: str) -> str:
    return dedent(name).lstrip("\n")


@pytest.fixture
def leave_out() -> Callable[..., dict[str, str]]:
    files = {name: dedent(text).lstrip("\n") for name, text in FILES.items()}
    return lambda *tasks, **more: leaving_out.leave_out(files | more, tasks, [])


def test_without_nothing_all_stays_as_it_was(leave_out: Callable[..., dict[str, str]]) -> None:
    assert leave_out() == {name: dedent(text).lstrip("\n") for name, text in FILES.items()}


def test_a_task_goes_with_all_that_only_it_needs(leave_out: Callable[..., dict[str, str]]) -> None:
    files = leave_out("odd")
    assert set(FILES) - set(files) == {
        "configs/model/odd.yaml",
        "configs/experiment/odd_one.yaml",
        "src/p/tasks/odd.py",
    }
    assert files["src/p/helpers.py"] == "import math\n\n\ndef for_both():\n    return math.pi\n"
    assert files["src/p/heads.py"] == 'class PlainHead(Head, name="plain_head"):\n    pass\n'
    assert files["src/p/tasks/__init__.py"] == (
        'from p.tasks.plain import Plain, shared\n\n__all__ = ["Plain", "shared"]\n'
    )
    assert "    return Plain()" in files["src/p/tasks/plain.py"]
    assert "Odd" not in files["src/p/tasks/plain.py"]


def test_its_tests_go_and_shared_ones_lose_a_case(leave_out: Callable[..., dict[str, str]]) -> None:
    assert leave_out("odd")["tests/test_p.py"] == left(
        """
        import pytest
        from p.heads import PlainHead
        from p.tasks import shared

        HEADS = ("plain_head",)


        @pytest.mark.parametrize("head", ["plain_head"])
        def test_heads(head):
            assert head in HEADS


        @pytest.mark.parametrize(
            ("task", "head"),
            [
                # plain
                (2, PlainHead),
            ],
        )
        def test_classes(task, head):
            assert shared(task, head)
        """
    )


def test_a_configuration_loses_choices_comments_and_keys(
    leave_out: Callable[..., dict[str, str]],
) -> None:
    assert leave_out("odd")["configs/train.yaml"] == (
        "defaults:\n  - model: plain # plain\nspeed: 1 # faster; see README\n"
    )


def test_a_page_loses_what_is_about_it(leave_out: Callable[..., dict[str, str]]) -> None:
    page = left(
        """
        # P

        Plain is plain. Odd is odd. Both are tasks (odd ones too).

        Odd tasks are rare. There are few.

        **Is it plain?** Or odd? It is plain.

        | head | reads |
        |---|---|
        | `odd_head` | all |
        | `plain_head` | some |

        ```bash
        train model=plain
        train model=odd
        ```

        ## The odd task

        Its own section.

        ### And what is below

        ## Results

        Kept.

        <!-- ours -->

        Left behind.
        """
    )
    assert leave_out("odd", **{"README.md": page})["README.md"] == left(
        """
        # P

        Plain is plain. Both are tasks.

        **Is it plain?** It is plain.

        | head | reads |
        |---|---|
        | `plain_head` | some |

        ```bash
        train model=plain
        ```

        ## Results

        Kept.
        """
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from seqmodels.heads import x", "from wind.heads import x"),
        ("SEQMODELS_CACHE, tests/test_seqmodels.py", "WIND_CACHE, tests/test_wind.py"),
        ("Seqmodels: pip install seqmodels-template", "Wind: pip install wind"),
        ("myseqmodels, seqmodels2", "myseqmodels, seqmodels2"),  # other words
        (r"\nseqmodels x, nseqmodels", r"\nwind x, nseqmodels"),  # after an escape
    ],
)
def test_names_are_replaced_word_by_word(before: str, after: str) -> None:
    assert renamed(before, "wind") == after


def test_comments_and_docstrings_fit_the_width_again() -> None:
    words = "word " * 19
    source = f'"""Title.\n\n{words}and more\nis there.\n"""\n# {words}and more\nx = 1\n'
    assert wrapped(source) == (
        f'"""Title.\n\n{words}and\nmore is there.\n"""\n# {words}and\n# more\nx = 1\n'
    )


def test_a_title_of_one_line_that_became_too_long_keeps_its_end() -> None:
    words = "word " * 19
    assert wrapped(f'"""{words}and more."""\n') == f'"""{words.rstrip()}\nand more."""\n'


def test_a_script_of_a_command_that_has_gone_goes_too(
    leave_out: Callable[..., dict[str, str]],
) -> None:
    script = "from p.odd_command import main\n\nif __name__ == '__main__':\n    main()\n"
    command = "from p.tasks import Odd\n\n\ndef main():\n    Odd()\n"
    files = {"scripts/odd.py": script, "src/p/odd_command.py": command}
    assert files.keys() <= leave_out(**files).keys()
    assert not files.keys() & leave_out("odd", **files).keys()
