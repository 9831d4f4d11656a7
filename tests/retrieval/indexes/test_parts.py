"""The parts that indexes share: rows that grow, the lock of readers and writers."""

from __future__ import annotations

import threading

import numpy as np

from retrieval.indexes.float_rows import FloatRows
from retrieval.indexes.locks import SharedLock


def test_rows_of_the_base_and_the_tail_are_read_in_the_order_asked_for():
    rows = FloatRows(np.array([[0, 0], [1, 1]], dtype=np.float32))
    rows.append(np.array([[2, 2]], dtype=np.float32))
    rows.append(np.array([[3, 3], [4, 4]], dtype=np.float32))

    assert rows.take(np.array([4, 0, 2, 1, 4])).tolist() == [[4, 4], [0, 0], [2, 2], [1, 1], [4, 4]]
    assert len(rows) == 5
    assert np.frombuffer(b"".join(rows.parts()), dtype=np.float32).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_rows_without_a_base_or_without_a_tail_are_read_alike():
    rows_ND = np.arange(6, dtype=np.float32).reshape(3, 2)
    tail = FloatRows(np.empty((0, 2), dtype=np.float32))
    tail.append(rows_ND)

    for rows in (tail, FloatRows(rows_ND)):
        assert rows.take(np.array([2, 0])).tolist() == [[4, 5], [0, 1]]


def test_rows_that_fill_many_pieces_are_all_there():
    rows, expected_ND = (
        FloatRows(np.empty((0, 3), dtype=np.float32)),
        np.arange(15_000, dtype=np.float32).reshape(-1, 3),
    )
    for start in range(0, 5000, 700):
        rows.append(expected_ND[start : start + 700])
    order = np.random.default_rng(0).permutation(5000)

    assert len(rows._pieces_PD) > 3
    assert (rows.take(order) == expected_ND[order]).all()
    assert b"".join(rows.parts()) == expected_ND.tobytes()


def test_readers_share_the_lock_and_a_writer_has_it_alone():
    lock, together, total = SharedLock(), threading.Barrier(3), [0, 0]

    def read() -> None:
        with lock.reading():
            together.wait(timeout=30)  # passes only if all three are inside at once

    def write() -> None:
        for _ in range(200):
            with lock.writing():
                seen = total[0]
                total[0] = seen + 1
            with lock.reading():
                total[1] += total[0] < seen

    for work, n in ((read, 3), (write, 4)):
        threads = [threading.Thread(target=work) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert together.broken is False
    assert total == [800, 0]


def test_a_waiting_writer_comes_before_readers_that_ask_later():
    lock, order = SharedLock(), []

    def write() -> None:
        with lock.writing():
            order.append("write")

    def read() -> None:
        with lock.reading():
            order.append("read")

    with lock.reading():
        writer = threading.Thread(target=write)
        writer.start()
        while not lock._n_waiting:
            pass
        reader = threading.Thread(target=read)
        reader.start()
    writer.join()
    reader.join()

    assert order == ["write", "read"]
