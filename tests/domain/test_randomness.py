import os
import threading

from service.domain.randomness import PublicRandom, public_random


def test_as_many_bytes_are_given_as_are_asked_for():
    assert [len(public_random(count)) for count in (0, 1, 12, 16, 17, 100)] == [
        0,
        1,
        12,
        16,
        17,
        100,
    ]


def test_nothing_is_given_twice_to_many_threads():
    random, given = PublicRandom(), []

    def take() -> None:
        given.extend(random(16) for _ in range(3000))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == len(given) == 12_000


def test_a_child_process_is_not_given_what_its_parent_holds():
    random = PublicRandom()
    random(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(random(16) for _ in range(100)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        of_child = pipe.read()
    os.waitpid(child, 0)
    assert len(of_child) == 1600
    of_parent = {random(16) for _ in range(600)}
    assert not of_parent & {of_child[at : at + 16] for at in range(0, 1600, 16)}
