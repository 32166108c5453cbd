"""The child that decodes is shut in; the parent believes it nothing and leaves none behind."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from service.domain.errors import TamperedError, UnavailableError
from service.worker import children
from service.worker.media import run
from service.worker.media.facts import MediaFacts, MediaFlag, encode_facts
from service.worker.media.peaks import Peaks, encode_peaks
from service.worker.media.run import MediaLimits, examine

ROOT = Path(__file__).resolve().parents[2]
RECORDING = (ROOT / "tests" / "samples" / "call-alaw.wav").read_bytes()


class Held:
    """A recording in memory, which can fail on command."""

    def __init__(self, data=RECORDING, error=None):
        self._data = data
        self._error = error
        self.size_bytes = len(data)

    async def read(self, offset, length):
        if self._error is not None:
            raise self._error
        return self._data[offset : offset + length]


async def no_sink(_):
    pass


@pytest.fixture
def started(monkeypatch):
    """The processes that were started, to look at afterwards."""
    processes = []
    start = run._start

    async def noting(theirs):
        processes.append(await start(theirs))
        return processes[-1]

    monkeypatch.setattr(run, "_start", noting)
    return processes


@pytest.fixture
def child_that(monkeypatch):
    """Put other code in the child's place: ``say`` sends a frame, ``order`` is what it got."""

    def replace(code):
        monkeypatch.setattr(
            children,
            "_BOOT",
            "import os, signal, struct, time\n"
            "def say(kind, payload=b'', length=None):\n"
            "    os.write(0, struct.pack('>cI', kind, len(payload) if length is None"
            " else length) + payload)\n"
            "order = os.read(0, 65536)\n" + code,
        )

    return replace


CONFINED = """
import ctypes, json, os, resource, socket, sys
from service.worker.media import child
order = child.Order(size_bytes=1, content_type="", name="", wants_rendition=False,
                    cpu_seconds=10, memory_bytes=2**28, read_bytes=1, rendition_bytes=1)
child._rehearse()
before = os.dup(1)
child._confine(order)
told = {}
def attempt(name, act):
    try:
        act()
        told[name] = "done"
    except BaseException as error:
        told[name] = type(error).__name__
attempt("read", lambda: os.open("/etc/hostname", os.O_RDONLY))
attempt("write", lambda: os.open("/tmp/plain", os.O_WRONLY | os.O_CREAT, 0o600))
attempt("connect", lambda: socket.socket())
attempt("pipe", os.pipe)
attempt("memory", lambda: bytearray(2**29))
attempt("more files", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)))
told["environment"] = sorted(os.environ)
told["dumpable"] = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
told["core"] = resource.getrlimit(resource.RLIMIT_CORE)
told["file size"] = resource.getrlimit(resource.RLIMIT_FSIZE)
told["processes"] = resource.getrlimit(resource.RLIMIT_NPROC)
os.write(1, json.dumps(told).encode())
"""


def test_a_confined_child_can_open_nothing():
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED], cwd=ROOT, env={}, capture_output=True, check=False
    )
    told = json.loads(ran.stdout or ran.stderr)
    assert told["read"] == told["write"] == told["connect"] == told["pipe"] == "OSError"
    assert told["memory"] == "MemoryError"
    if os.geteuid() != 0:
        assert told["more files"] == "ValueError"
    assert (told["dumpable"], told["core"], told["file size"]) == (0, [0, 0], [0, 0])
    assert told["processes"] == [0, 0]


FACTS = encode_facts(MediaFacts(container="wav", channels=1, sample_rate_hz=8000))
STEREO = encode_peaks(Peaks(sample_rate_hz=8000, samples_per_bucket=160, channels=(b"a", b"b")))


async def test_a_child_sees_no_environment_and_no_name(monkeypatch, child_that):
    monkeypatch.setenv("TALTIO_SECRET", "invented")
    child_that(
        "seen = open('/proc/self/environ', 'rb').read() + open('/proc/self/cmdline', 'rb').read()\n"
        f"told = {FACTS!r} if len(seen) < 4000 and bytes.fromhex('{b'35840'.hex()}') not in seen"
        f" and bytes.fromhex('{b'TALTIO_'.hex()}') not in seen else b''\n"
        "say(b'F', told); say(b'E')"
    )
    result = await examine(Held(), name="+358401234567.wav", content_type="audio/wav")
    assert result.facts.container == "wav"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("say(b'?')", id="an unknown word"),
        pytest.param("say(b'F', length=2**31)", id="two gibibytes"),
        pytest.param("say(b'F', b'{}')", id="facts that are none"),
        pytest.param(f"say(b'F', {FACTS!r}); say(b'F', {FACTS!r})", id="facts twice"),
        pytest.param(f"say(b'P', {STEREO!r})", id="peaks first"),
        pytest.param(
            f"say(b'F', {FACTS!r}); say(b'P', {STEREO!r})", id="peaks of other channels"
        ),
        pytest.param("say(b'R', b'1')", id="half a request"),
        pytest.param("say(b'R', struct.pack('>QI', 0, 2**31))", id="a huge request"),
        pytest.param("say(b'R', struct.pack('>QI', 2**63, 1))", id="a request past the end"),
        pytest.param("say(b'D', b'x')", id="a rendition that was not announced"),
        pytest.param("say(b'B', bytes(8)); say(b'D', b'x')", id="more than was announced"),
        pytest.param("say(b'E')", id="an end without facts"),
    ],
)
async def test_a_child_that_misbehaves_is_not_believed(child_that, started, code):
    child_that(f"{code}\ntime.sleep(60)")
    result = await examine(Held(), sink=no_sink)
    assert result.facts.problems == ("decoder_misbehaved",)
    assert MediaFlag.UNREADABLE in result.facts.flags
    assert (result.peaks, result.rendition) == (None, None)
    assert started[0].returncode is not None


async def test_a_rendition_that_breaks_off_does_not_count(child_that):
    child_that(f"say(b'F', {FACTS!r}); say(b'B', struct.pack('>Q', 9)); say(b'D', b'12345678')")
    result = await examine(Held(), sink=no_sink)
    assert (result.facts.channels, result.rendition) == (1, None)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS"])
async def test_a_recording_that_crashes_its_decoder_is_called_so(child_that, name):
    child_that(
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"os.kill(os.getpid(), signal.{name})"
    )
    result = await examine(Held())
    assert result.facts.problems == ("decoder_crashed",)


async def test_a_decoder_that_never_comes_back_is_ended_by_the_kernel(child_that):
    child_that(
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"
    )
    result = await examine(Held())
    assert result.facts.flags == {MediaFlag.UNREADABLE, MediaFlag.LIMIT_REACHED}


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="killed from outside"),
        pytest.param("import no_such_module", id="unable to start"),
        pytest.param("time.sleep(60)", id="too slow"),
        pytest.param("while True: say(b'R', struct.pack('>QI', 0, 1))", id="busy with nothing"),
    ],
)
async def test_a_fault_of_the_machine_can_be_tried_again(child_that, started, code):
    child_that(code)
    with pytest.raises(UnavailableError):
        await examine(Held(), limits=MediaLimits(wall_seconds=0.5))
    assert started[0].returncode is not None


async def test_no_process_to_be_had_can_be_tried_again(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UnavailableError):
        await examine(Held())


@pytest.mark.parametrize(
    "error", [TamperedError("blob"), ConnectionResetError(), TimeoutError()]
)
async def test_what_the_source_raises_passes_through(started, error):
    with pytest.raises(type(error)):
        await examine(Held(error=error))
    assert started[0].returncode is not None


async def test_what_the_sink_raises_passes_through(started):
    async def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await examine(Held(), sink=full)
    assert started[0].returncode is not None


async def test_cancelled_at_any_moment_it_leaves_no_process(started):
    for moment in range(12):
        task = asyncio.create_task(examine(Held(), sink=no_sink))
        await asyncio.sleep(moment * 0.02)
        task.cancel()
        await asyncio.wait([task])
    assert started
    assert all(process.returncode is not None for process in started)


async def test_a_child_whose_parent_is_gone_ends_by_itself():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await run._start(theirs)
    assert await asyncio.wait_for(process.wait(), timeout=30) == 1


def test_it_runs_on_uvloop_too():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(examine(Held(), sink=no_sink))
    assert result.rendition is not None


async def test_many_at_once_do_not_meet():
    results = await asyncio.gather(*(examine(Held(), sink=no_sink) for _ in range(6)))
    assert len({result.facts for result in results}) == 1
