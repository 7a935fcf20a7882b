"""gdb commands for kernels that run on the host (docs/simt.md).

  gdb -x tools/simt_gdb.py --args build/debug/bin/kernels_sinkhorn_plain

  simt threads             where the threads of the current block are
  simt thread N            look at thread N, which waits: backtrace, up, print work
  simt back                return to the running thread; do so before continuing
  simt break PLACE T [B]   stop at PLACE in thread T (threadIdx.x), of block B (blockIdx.x)

x86-64 only: it knows how Boost.Context saves registers there.
"""
import gdb

# On the stack of a suspended fiber, lowest address first: 8 bytes of floating-point control, these, then
# the address to return to.
SAVED_REGISTERS = ["r12", "r13", "r14", "r15", "rbx", "rbp"]
STATES = ["ready", "running", "at a barrier", "in a warp's collective", "at the grid barrier",
          "returned"]  # ThreadState of tests/simt/src/state.hpp
WAITING = (2, 3, 4)
EXECUTOR = ("/tests/simt/src/", "/tests/simt/include/")


def word_at(address):
    return int(gdb.parse_and_eval("*(unsigned long*)%d" % address))


def ranges(numbers):
    """[0, 1, 2, 5] as "0-2,5"."""
    parts, i = [], 0
    while i < len(numbers):
        last = i
        while last + 1 < len(numbers) and numbers[last + 1] == numbers[last] + 1:
            last += 1
        parts.append("%d-%d" % (numbers[i], numbers[last]) if last > i else str(numbers[i]))
        i = last + 1
    return ",".join(parts)


def threads_of_block():
    worker = gdb.parse_and_eval("mwalimu::simt::detail::current_worker")
    if int(worker) == 0 or int(worker["block"]) == 0:
        raise gdb.GdbError("no kernel runs on this host thread; try `thread apply all simt threads`")
    block = worker["block"]
    first = block["threads"]["_M_impl"]["_M_start"]
    return [(first + i).dereference() for i in range(int(block["count"]))]


def place_of(thread):
    state = int(thread["state"])
    if state in WAITING:
        return "%s: %s, %s:%d" % (STATES[state], thread["what"].string(), thread["file"].string(),
                                  int(thread["line"]))
    if state == 0 and int(thread["fiber"]) == 0:
        return "not started"
    return STATES[state]


def is_executor(frame):
    place = frame.find_sal()
    return place.symtab is None or any(part in place.symtab.fullname() for part in EXECUTOR)


class Simt(gdb.Command):
    """Threads of a kernel that runs on the host: simt threads | thread N | back | break PLACE T [B]"""

    def __init__(self):
        super().__init__("simt", gdb.COMMAND_USER, prefix=True)
        self.running = None  # registers of the running thread while another is looked at

    def invoke(self, argument, from_tty):
        raise gdb.GdbError(self.__doc__)

    def set_register(self, name, value):
        gdb.execute("set $%s = %d" % (name, value), to_string=True)

    def threads(self):
        places = {}
        for thread in threads_of_block():
            places.setdefault(place_of(thread), []).append(int(thread["rank"]))
        for place, ranks in places.items():
            print("%5d  %s: %s" % (len(ranks), ranges(ranks), place))

    def thread(self, number):
        threads = threads_of_block()
        if not 0 <= number < len(threads):
            raise gdb.GdbError("the block has threads 0 to %d" % (len(threads) - 1))
        thread = threads[number]
        if int(thread["state"]) == 1:
            return self.back()
        if int(thread["fiber"]) == 0:
            raise gdb.GdbError("thread %d has no stack: %s" % (number, place_of(thread)))
        # Registers of an outer frame lie on the stack: only those of the innermost may be written.
        gdb.newest_frame().select()
        if self.running is None:
            self.running = {name: int(gdb.parse_and_eval("(unsigned long)$" + name))
                            for name in SAVED_REGISTERS + ["rsp", "rip"]}
        context = int(thread["fiber"]["context"])
        for i, name in enumerate(SAVED_REGISTERS):
            self.set_register(name, word_at(context + 8 * (i + 1)))
        self.set_register("rip", word_at(context + 8 * (len(SAVED_REGISTERS) + 1)))
        self.set_register("rsp", context + 8 * (len(SAVED_REGISTERS) + 2))
        frame = gdb.newest_frame()
        while frame.older() is not None and is_executor(frame):
            frame = frame.older()
        frame.select()
        gdb.execute("frame")

    def back(self):
        gdb.newest_frame().select()
        for name, value in (self.running or {}).items():
            self.set_register(name, value)
        self.running = None
        gdb.execute("frame")

    def break_at(self, place, thread, block):
        condition = "threadIdx.x == %d" % thread
        if block is not None:
            condition += " && blockIdx.x == %d" % block
        gdb.execute("break %s if %s" % (place, condition))


SIMT = Simt()


class SimtThreads(gdb.Command):
    """Where the threads of the current block are."""

    def __init__(self):
        super().__init__("simt threads", gdb.COMMAND_USER)

    def invoke(self, argument, from_tty):
        SIMT.threads()


class SimtThread(gdb.Command):
    """Look at a thread that waits: simt thread N. `simt back` before continuing."""

    def __init__(self):
        super().__init__("simt thread", gdb.COMMAND_USER)

    def invoke(self, argument, from_tty):
        if not argument.isdigit():
            raise gdb.GdbError("simt thread N: want a thread's number in its block")
        SIMT.thread(int(argument))


class SimtBack(gdb.Command):
    """Return to the running thread."""

    def __init__(self):
        super().__init__("simt back", gdb.COMMAND_USER)

    def invoke(self, argument, from_tty):
        SIMT.back()


class SimtBreak(gdb.Command):
    """Stop in one thread: simt break PLACE T [B] (threadIdx.x, blockIdx.x)."""

    def __init__(self):
        super().__init__("simt break", gdb.COMMAND_USER, gdb.COMPLETE_LOCATION)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if len(words) not in (2, 3) or not all(w.isdigit() for w in words[1:]):
            raise gdb.GdbError("simt break PLACE T [B]: want a place, a thread, perhaps a block")
        SIMT.break_at(words[0], int(words[1]), int(words[2]) if len(words) == 3 else None)


for command in (SimtThreads, SimtThread, SimtBack, SimtBreak):
    command()
