"""Shared memory: what one process writes another reads, and only that."""

import fcntl
import gc
import mmap
import os
import subprocess
import sys
import tempfile

import pytest

from berrymq.bridge.buffers import (
    Claim,
    ClaimError,
    Pool,
    PoolFullError,
    claims,
    few_descriptors,
    is_available,
    open_claim,
)
from berrymq.bridge.buffers import pool as pool_module
from tests.support.descriptors import open_memories

pytestmark = pytest.mark.skipif(not is_available(), reason="this system has no sealed shared memory")

DATA = bytes(range(256)) * 400


def put(pool, data=DATA):
    return pool.share(len(data), lambda memory: memory.__setitem__(slice(None), data))


@pytest.fixture
def pool():
    with_pool = Pool()
    yield with_pool
    gc.collect()
    with_pool.close()


class TestSharing:
    def test_what_is_released_after_the_pool_is_closed_leaves_no_file_open(self):
        before = open_memories()
        pool = Pool()
        lease, filling = put(pool), pool.open(1000)
        assert open_memories() > before
        pool.close()
        del pool, lease, filling
        assert open_memories() <= before

    def test_what_the_garbage_collector_finds_is_used_again(self, pool):
        for _ in range(20):
            cycle = {"lease": put(pool)}
            cycle["self"] = cycle
            del cycle
            gc.collect()
        assert pool._count == 1

    def test_a_pool_without_an_owner_leaves_no_file_open(self):
        before = open_memories()
        lease, cycle = put(Pool()), {"lease": put(Pool())}
        cycle["self"] = cycle
        del lease, cycle
        gc.collect()
        assert open_memories() <= before

    def test_what_is_shared_is_read(self, pool):
        lease = put(pool)
        held = open_claim(lease.claim)
        assert bytes(held.map()) == DATA
        assert held.read(100, 50) == lease.read(100, 50) == DATA[100:150]
        assert held.read(len(DATA) - 5, 50) == lease.read(len(DATA) - 5, 50) == DATA[-5:]

    def test_each_reader_may_write_and_the_others_do_not_see_it(self, pool):
        lease = put(pool)
        one, other = open_claim(lease.claim).map(), open_claim(lease.claim).map()
        one[0] = 77
        assert (other[0], lease.read(0, 1)) == (0, b"\0")

    def test_it_outlives_its_owner(self):
        script = """
import sys
from berrymq.bridge.buffers import Pool
lease = Pool().share(100_000, lambda memory: memory.__setitem__(slice(None), b"x" * 100_000))
print(*lease.claim, flush=True)
sys.stdin.read()
"""
        owner = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with owner:
            pid, descriptor, inode, secret, size = owner.stdout.readline().split()
            held = open_claim(Claim(int(pid), int(descriptor), int(inode), secret, int(size)))
            again = open_claim(held.claim)
            owner.kill()
            owner.wait(10)
            with pytest.raises(ClaimError, match="can't be opened"):
                open_claim(Claim(int(pid), int(descriptor), int(inode), secret, int(size)))
        del held
        assert bytes(again.map()) == b"x" * 100_000

    def test_a_reader_with_very_many_gets_copies_and_the_memory_is_used_again(self, pool, monkeypatch):
        monkeypatch.setattr(claims, "MAX_MAPPED", len(claims._mapped) + 5)
        before = len(open_memories())
        views = [open_claim(put(pool).claim).map() for _ in range(40)]
        assert all(bytes(view) == DATA for view in views)
        views[-1][0] = 77
        assert len(open_memories()) - before < 20
        assert pool.held_bytes < 7 * len(DATA) * 1.2

    def test_a_reader_with_much_memory_gets_copies_of_messages(self, pool, monkeypatch):
        mapped = sum(len(one) for one in claims._mapped)
        monkeypatch.setattr(claims, "MAX_MAPPED_BYTES", mapped + 5 * len(DATA))
        views = [open_claim(put(pool).claim).map(limited=True) for _ in range(40)]
        assert all(bytes(view) == DATA for view in views)
        assert pool.held_bytes < 7 * len(DATA) * 1.2

    def test_the_limit_on_descriptors_of_a_process_is_left_to_others(self, monkeypatch):
        monkeypatch.setattr(claims.resource, "getrlimit", lambda _: (64, 64))
        assert few_descriptors(256) == 16
        monkeypatch.setattr(claims.resource, "getrlimit", lambda _: (-1, -1))
        assert few_descriptors(256) == 256

    def test_a_forked_child_does_not_write_to_memory_of_its_parent(self):
        script = """
import os
from berrymq.bridge.buffers import Pool
pool = Pool()
put = lambda byte: pool.share(100_000, lambda memory: memory.__setitem__(slice(None), byte * 100_000))
put(b"a")  # idle from now on
told, tell = os.pipe()
child = os.fork()
if child == 0:
    lease = put(b"d")
    os.write(tell, str(lease.claim.inode).encode())
    os._exit(0)
assert int(os.read(told, 20)) != put(b"e").claim.inode
os.waitpid(child, 0)
"""
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class TestRecycling:
    def test_memory_is_used_again_when_lease_and_readers_are_gone(self, pool):
        lease = put(pool)
        inode = lease.claim.inode
        view = open_claim(lease.claim).map()
        del lease
        other = put(pool)
        assert other.claim.inode != inode
        inodes = {inode, other.claim.inode}
        del view, other
        leases = [put(pool), put(pool)]
        assert {lease.claim.inode for lease in leases} == inodes

    def test_a_lease_keeps_it(self, pool):
        leases = [put(pool) for _ in range(3)]
        assert len({lease.claim.inode for lease in leases}) == 3

    def test_a_claim_of_before_opens_nothing_new(self, pool):
        former = put(pool).claim
        gc.collect()
        lease = put(pool, DATA[::-1])
        assert lease.claim.inode == former.inode
        with pytest.raises(ClaimError, match="other data"):
            open_claim(former)

    def test_a_reader_that_is_killed_lets_go(self, pool):
        lease = put(pool)
        script = """
import sys
from berrymq.bridge.buffers import Claim, open_claim
pid, descriptor, inode, secret, size = sys.argv[1:]
view = open_claim(Claim(int(pid), int(descriptor), int(inode), secret, int(size))).map()
print("open", flush=True)
sys.stdin.read()
"""
        reader = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, lease.claim)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        inode = lease.claim.inode
        with reader:
            assert reader.stdout.readline() == "open\n"
            del lease
            assert put(pool).claim.inode != inode
            reader.kill()
            reader.wait(10)
        gc.collect()
        assert inode in {lease.claim.inode for lease in (put(pool), put(pool))}

    def test_what_is_idle_goes_back_to_the_system(self, pool, monkeypatch):
        put(pool)
        assert pool.held_bytes
        monkeypatch.setattr("berrymq.bridge.buffers.pool.IDLE_SECONDS", -1)
        pool.trim()
        assert pool.held_bytes == 0

    def test_the_limit(self):
        pool = Pool(max_bytes=250_000)
        leases = [put(pool), put(pool)]
        with pytest.raises(PoolFullError, match="still hold"):
            put(pool)
        leases.pop()
        assert put(pool).read(0, 256) == DATA[:256]

    def test_memory_of_another_size_makes_room(self):
        pool = Pool(max_bytes=250_000)
        put(pool)
        assert put(pool, b"x" * 200_000).read(0, 1) == b"x"

    def test_what_fails_to_write_leaves_nothing_leased(self, pool):
        def fail(memory):
            raise RuntimeError("no")

        with pytest.raises(RuntimeError):
            pool.share(100_000, fail)
        held = pool.held_bytes
        put(pool, b"x" * 100_000)
        assert pool.held_bytes == held

    @pytest.mark.parametrize("at", ["secrets.token_hex", "header", "Claim", "Lease"])
    def test_what_is_interrupted_leaves_nothing_behind(self, at, pool, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(pool_module, "IDLE_SECONDS", -1)
        before = open_memories()
        with monkeypatch.context() as patched:
            patched.setattr(f"berrymq.bridge.buffers.pool.{at}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                put(pool)
        pool.trim()
        assert pool.held_bytes == 0
        assert open_memories() == before


def memfd(*, name="berrymq", seals=fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, begins=b"berryMQ1" + b"a" * 32):
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 2 * mmap.PAGESIZE)
    os.pwrite(descriptor, begins, 0)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def claim_on(file, /, **changes):
    claim = Claim(os.getpid(), file, os.fstat(file).st_ino, "a" * 32, 100)
    return claim._replace(**changes)


class TestForgedClaims:
    def test_what_is_right_is_opened(self):
        descriptor = memfd()
        open_claim(claim_on(descriptor))
        os.close(descriptor)

    @pytest.mark.parametrize(
        "changes",
        [
            {"pid": 0},
            {"pid": -1},
            {"pid": 2**40},
            {"descriptor": -1},
            {"descriptor": 2**40},
            {"inode": 1},
            {"secret": ""},
            {"secret": "b" * 32},
            {"secret": "é" * 32},
            {"size": 0},
            {"size": -1},
            {"size": 2 * mmap.PAGESIZE},
            {"size": 2**50},
        ],
        ids=repr,
    )
    def test_one_that_says_something_else_is_refused(self, changes):
        descriptor = memfd()
        with pytest.raises(ClaimError):
            open_claim(claim_on(descriptor, **changes))
        os.close(descriptor)

    @pytest.mark.parametrize(
        "wrong", [{"name": "other"}, {"seals": 0}, {"seals": fcntl.F_SEAL_GROW}, {"begins": b"x"}], ids=repr
    )
    def test_memory_of_others_is_refused(self, wrong):
        descriptor = memfd(**wrong)
        with pytest.raises(ClaimError):
            open_claim(claim_on(descriptor))
        os.close(descriptor)

    def test_what_is_no_memory_is_refused_and_never_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        pipe = os.open(tmp_path / "pipe", os.O_RDWR)
        with tempfile.TemporaryFile() as file:
            file.write(b"berryMQ1" + b"a" * 32 + bytes(10_000))
            file.flush()
            for descriptor in (pipe, file.fileno(), os.open("/dev/zero", os.O_RDONLY)):
                with pytest.raises(ClaimError):
                    open_claim(claim_on(descriptor))
        os.close(pipe)

    def test_memory_that_is_being_written_is_refused(self):
        descriptor = memfd()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ClaimError, match="can't be read"):
            open_claim(claim_on(descriptor))
        os.close(descriptor)

    def test_refusing_leaves_no_descriptor_open(self):
        descriptor = memfd(begins=b"x")
        before = open_memories()
        for _ in range(20):
            with pytest.raises(ClaimError):
                open_claim(claim_on(descriptor))
        assert open_memories() <= before
        os.close(descriptor)
