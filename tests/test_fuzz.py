"""Random programs, compiled and interpreted; Hypothesis shrinks what it finds.

`pytest tests/test_fuzz.py --hypothesis-profile=long` runs ten times as many, `python -m tests.fuzz`
any number.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom.codegen.driver import program_text
from gradloom.passes.order import PASSES
from gradloom.pipeline import run_passes
from gradloom.plan.assemble import make_plan
from gradloom.plan.verify import verify_plan
from tests.fuzz import check, check_gpu, check_gradients, check_text, random_case
from tests.plan.placement import assert_sound
from tests.random_graphs import Case, Draws, Maker
from tests.random_rules import RULES


@st.composite
def cases(draw, largest: int = 6000) -> Case:
    return Maker(Draws(lambda low, high: draw(st.integers(low, high))), largest).case(RULES)


MANY = settings(
    max_examples=5 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@MANY
@given(cases())
def test_a_compiled_program_is_its_interpretation(case):
    check(case)


@settings(suppress_health_check=MANY.suppress_health_check)
@given(cases(largest=300))
def test_a_program_as_text_is_its_interpretation(case):
    check_text(case)


@settings(suppress_health_check=MANY.suppress_health_check)
@given(cases())
def test_a_gradient_is_its_interpretation(case):
    check_gradients(case)


@settings(
    max_examples=settings.default.max_examples // 5,
    suppress_health_check=MANY.suppress_health_check,
)
@given(cases(largest=1000))
def test_a_program_on_a_gpu_is_its_interpretation(case):
    check_gpu(case)


@MANY
@given(st.integers(0, 2**32))
def test_every_plan_is_sound(seed):
    """Planning alone is quick: buffers that live together lie apart, and the order is causal."""
    graph = run_passes(random_case(seed).graph)
    plan = make_plan(graph)
    verify_plan(plan)
    assert_sound(plan)
    assert make_plan(graph) == plan
    compile(program_text(plan), "driver", "exec")


@given(st.integers(0, 2**32))
def test_passes_are_idempotent(seed):
    once = run_passes(random_case(seed).graph)
    for rewrite in PASSES:
        assert rewrite(once).fingerprint() == once.fingerprint()
