import os
import signal
import threading

import pytest
import torch

from pipeline.errors import TrainingError
from pipeline.reproducible import conditions, determinism_explained, interrupts_between_steps


def state() -> tuple[int, bool, bool, object]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        signal.getsignal(signal.SIGINT),
    )


def fail_in_the_middle() -> None:
    with conditions(threads=2, deterministic=True, accelerator="cpu"):
        torch.rand(3)
        assert torch.are_deterministic_algorithms_enabled()
        raise ZeroDivisionError


def test_the_process_gets_its_switches_back_after_an_error_too() -> None:
    before, random = state(), torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()

    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)


def test_products_keep_every_bit_of_float32_whatever_the_process_chose() -> None:
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with conditions(threads=1, deterministic=True, accelerator="cpu"):
            inside = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
        after = torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(chosen)

    assert inside == ("highest", False)
    assert (after, torch.backends.cudnn.allow_tf32) == ("medium", True)


def test_an_operator_without_a_deterministic_form_names_the_setting_that_allows_it() -> None:
    target, index = torch.zeros(3), torch.tensor([0, 0])
    with (
        conditions(threads=1, deterministic=True, accelerator="cpu"),
        pytest.raises(TrainingError, match=r"^distill: put_ .*set deterministic = false"),
        determinism_explained("distill"),
    ):
        target.put_(index, torch.ones(2))
    with conditions(threads=1, deterministic=False, accelerator="cpu"), determinism_explained("distill"):
        target.put_(index, torch.ones(2))

    assert target[0] == 1


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), determinism_explained("distill"):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_the_first_interrupt_waits_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_between_steps() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)

        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_may_train_as_well() -> None:
    seen: list[bool] = []

    def train() -> None:
        with interrupts_between_steps() as interrupted:
            seen.append(interrupted.is_set())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

    assert seen == [False]
