"""Reader of Data Manager's shared-memory ring. Standard library alone, read-only; the contract is dm_ring.h.

    import dm_ring
    with dm_ring.Ring("/dev/shm/data-manager-1000", "dm-main") as ring:
        for event in ring.follow():          # Trade / Quote records and Gap, in order
            print(event)

A record is a named tuple with integers: value = mantissa * 10 ** exponent, times are ns since the epoch, None where the
value is absent. `decimal.Decimal(mantissa).scaleb(exponent)` is exact. This reader has no row in the control file: the
producer never waits for it or wakes it, and it sleeps by the clock.

Copies are validated: a record counts only if its stamp is right before and after the copy, and if the producer is still
further away than an eighth of the ring. The second condition makes up for the memory fence that Python cannot express.
"""

import fcntl
import mmap
import os
import stat
import struct
import time
import zlib
from collections import namedtuple

MAGIC = 0x3130474E49524D44
ABI_MAJOR = 1
HEADER_BYTES = 4096
DICT_ENTRY = 192
ABSENT_I64 = 2**63 - 1
ABSENT_I32 = -(2**31)
ABSENT_U32 = 2**32 - 1
ABSENT_U16 = 2**16 - 1
STATES = ("starting", "live", "closed", "retired")
SIDES = ("none", "buy", "sell", "none")
ROW, TEXT, CONTROL = 1, 2, 3
GAP_REPAIRED = 128  # in place of a cause

Trade = namedtuple(
    "Trade",
    "seq symbol ts_event ts_recv price price_exponent size size_exponent side trade_key publisher flags depth ts_in_delta",
)
Quote = namedtuple(
    "Quote",
    "seq symbol ts_event ts_recv bid_price ask_price price price_exponent bid_size ask_size size size_exponent bid_count"
    " ask_count bid_publisher ask_publisher schema side action quote_key publisher flags depth ts_in_delta",
)
Gap = namedtuple("Gap", "start end")  # sequences [start, end) were overwritten before they were read
# A time that was lost and is in the store now; `rows` were added to it, of all symbols together.
Repaired = namedtuple("Repaired", "seq symbol dataset schema start_ns end_ns rows")
UpstreamGap = namedtuple("UpstreamGap", "seq symbol dataset schema start_ns end_ns rows cause")
Replay = namedtuple("Replay", "number first_seq end_seq start_ns end_ns speed cause")  # end_seq None: it goes on
Entry = namedtuple("Entry", "index type native_id key_kind context publisher symbol dataset provider exchange")

# stamp and five words are common to both slots; the tail stands in the last 16 bytes
_TRADE = struct.Struct("<Q5q HHibbBBI")
_QUOTE = struct.Struct("<Q9q II HH BB 18x HHibbBBI")
_GAP = struct.Struct("<Q3q16s")
_REPLAY = struct.Struct("<3Q2q2I")
_U64 = struct.Struct("<Q")
assert _TRADE.size == 64 and _QUOTE.size == 128


class RingError(Exception):
    """The file is not a ring of this version, is damaged, or is not of the expected owner."""


def _absent(value, sentinel):
    return None if value == sentinel else value


class Ring:
    """One segment `<directory>/<name>.ring`. `owner` is the user id that must own it, default the own one."""

    def __init__(self, directory, name, owner=None):
        path = os.path.join(directory, name + ".ring")
        owner = os.geteuid() if owner is None else owner
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            info = os.fstat(self._fd)
            if not stat.S_ISREG(info.st_mode) or info.st_uid != owner or info.st_mode & 0o022:
                raise RingError(f"{path}: wrong owner, mode or file type")
            if info.st_size < HEADER_BYTES:
                raise RingError(f"{path}: not a ring")
            self._map = mmap.mmap(self._fd, info.st_size, mmap.MAP_SHARED, mmap.PROT_READ)
            self._check(info.st_size, path)
        except BaseException:
            os.close(self._fd)
            raise
        self._entries = []

    def _check(self, size, path):
        m = self._map
        (magic,) = _U64.unpack_from(m, 0)
        if magic != MAGIC:
            raise RingError(f"{path}: not a ring")
        major, self.abi_minor, header_bytes = struct.unpack_from("<HHI", m, 8)
        if major != ABI_MAJOR:
            raise RingError(f"{path}: ABI {major}, this reader knows {ABI_MAJOR}")
        (crc,) = struct.unpack_from("<I", m, 120)
        if zlib.crc32(m[24:120], zlib.crc32(m[8:16])) != crc:
            raise RingError(f"{path}: damaged header")
        self.capacity, self.record_size, self.record_schema = struct.unpack_from("<QII", m, 24)
        self._data, self._dict, self.dict_cap, dict_entry, total = struct.unpack_from("<QQIIQ", m, 40)
        self.segment_uuid = m[72:88].hex()
        self._time_off, self.time_cap, self.time_interval, self.base_seq = struct.unpack_from("<QIIQ", m, 88)
        sane = (
            header_bytes == HEADER_BYTES
            and 16 <= self.capacity <= 1 << 24
            and self.capacity & (self.capacity - 1) == 0
            and self.record_size == {1: 64, 2: 128}.get(self.record_schema)
            and dict_entry == DICT_ENTRY
            and 1 <= self.dict_cap <= 65535
            and 1 <= self.time_cap <= 1 << 20
            and total == size
            and HEADER_BYTES <= self._dict <= size - self.dict_cap * DICT_ENTRY
            and HEADER_BYTES <= self._data <= size - self.capacity * self.record_size
            and HEADER_BYTES <= self._time_off <= size - self.time_cap * 24
        )
        if not sane:
            raise RingError(f"{path}: the header contradicts itself")
        self._mask = self.capacity - 1

    def close(self):
        self._map.close()
        os.close(self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _u64(self, offset):
        return _U64.unpack_from(self._map, offset)[0]

    @property
    def epoch(self):
        """Generation of the producer."""
        return self._u64(16)

    @property
    def write_seq(self):
        """Committed records."""
        return self._u64(128)

    @property
    def durable_seq(self):
        """Every record before it is committed in the store."""
        return self._u64(192)

    @property
    def state(self):
        return STATES[struct.unpack_from("<I", self._map, 268)[0] & 3]

    @property
    def oldest(self):
        """The oldest sequence that is safe to start at."""
        return max(self.base_seq, self.write_seq - (self.capacity - self.capacity // 8), 0)

    def replays(self):
        """Stretches of records that are a replay of stored rows, newest first: 1 `window` on demand, 2 `reload` of an empty
        ring; speed 0 is as fast as possible. The ring remembers the last 16."""
        count, stretches = self._u64(896), []
        for number in range(count, max(0, count - 16), -1):
            raw = self._map[1024 + number % 16 * 64 : 1072 + number % 16 * 64]
            found, first, end, start, stop, speed, cause = _REPLAY.unpack(raw)
            if found == number and self._u64(1024 + number % 16 * 64) == number:
                stretches.append(Replay(number, first, None if end == 2**64 - 1 else end, start, stop, speed / 1000, cause))
        return stretches

    def is_replay(self, seq):
        """Whether a record that was read is a replay, not live."""
        if self._u64(896) == 0:
            return False
        stretches = self.replays()
        if stretches and stretches[-1].number > 1 and seq < stretches[-1].first_seq:
            return True  # of a stretch that is forgotten, or from between two: a replay to be on the safe side
        return any(r.first_seq <= seq and (r.end_seq is None or seq < r.end_seq) for r in stretches)

    def alive(self):
        """Whether a producer holds the lease. Linux alone: elsewhere None."""
        if not hasattr(fcntl, "F_OFD_GETLK"):
            query = 36 if os.uname().sysname == "Linux" else None
            if query is None:
                return None
        else:
            query = fcntl.F_OFD_GETLK
        lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(self._fd, query, lock))[0] != fcntl.F_UNLCK

    def entries(self):
        """Dictionary entries; None for a damaged one."""
        count = min(struct.unpack_from("<I", self._map, 384)[0], self.dict_cap)
        while len(self._entries) < count:
            self._entries.append(self._entry(len(self._entries)))
        return self._entries

    def _entry(self, index):
        at = self._dict + index * DICT_ENTRY
        native_id, kind, key_kind, _, _, context, publisher, _, dataset, symbol, provider = struct.unpack_from(
            "<IBBBBHHBBBB", self._map, at + 64
        )
        text = self._map[at + 80 : at + 192]
        if symbol + provider > 112 or dataset > symbol or kind not in (1, 2):
            return None
        decode = lambda part: part.decode("utf-8", "replace")
        exchange = text[symbol + provider :].split(b"\0", 1)[0]
        return Entry(
            index, kind, native_id, key_kind, context, publisher, decode(text[:symbol]), decode(text[:dataset]),
            decode(text[symbol : symbol + provider]), decode(exchange),
        )

    def symbol(self, index):
        """`DATASET:RAW_SYMBOL` of a dictionary index, `#index` where it is unknown."""
        entries = self._entries if index < len(self._entries) else self.entries()
        entry = entries[index] if index < len(entries) else None
        return f"#{index}" if entry is None else entry.symbol

    def _copy(self, seq):
        """The bytes of record `seq`, or None where it is not there (any more)."""
        at = self._data + (seq & self._mask) * self.record_size
        raw = self._map[at : at + self.record_size]
        if _U64.unpack_from(raw, 0)[0] != seq + 1 or self._u64(at) != seq + 1:
            return None
        return raw if self.write_seq - seq <= self.capacity - self.capacity // 8 else None

    def _record(self, seq, raw):
        kind = raw[self.record_size - 6] & 15
        if kind == ROW:
            return self._trade(seq, raw) if self.record_schema == 1 else self._quote(seq, raw)
        return self._upstream_gap(seq, raw) if kind == CONTROL else None

    def _trade(self, seq, raw):
        (_, price, size, ts_event, ts_recv, key, instrument, publisher, delta, pexp, sexp, kind, flags, back) = _TRADE.unpack(raw)
        return Trade(
            seq, self.symbol(instrument), ts_event, _absent(ts_recv, ABSENT_I64), _absent(price, ABSENT_I64), pexp,
            _absent(size, ABSENT_I64), sexp, SIDES[kind >> 4 & 3], key, publisher, flags, back & 255,
            _absent(delta, ABSENT_I32),
        )

    def _quote(self, seq, raw):
        (_, bid, ask, ts_event, ts_recv, key, price, size, bid_size, ask_size, bid_count, ask_count, bid_pub, ask_pub,
         schema, action, instrument, publisher, delta, pexp, sexp, kind, flags, back) = _QUOTE.unpack(raw)
        i64 = lambda value: _absent(value, ABSENT_I64)
        return Quote(
            seq, self.symbol(instrument), i64(ts_event), i64(ts_recv), i64(bid), i64(ask), i64(price), pexp,
            i64(bid_size), i64(ask_size), i64(size), sexp, _absent(bid_count, ABSENT_U32), _absent(ask_count, ABSENT_U32),
            _absent(bid_pub, ABSENT_U16), _absent(ask_pub, ABSENT_U16), schema, SIDES[kind >> 4 & 3],
            chr(action) if action else "", key, publisher, flags, back & 255, _absent(delta, ABSENT_I32),
        )

    def _upstream_gap(self, seq, raw):
        _, start, end, rows, dataset = _GAP.unpack_from(raw, 0)
        instrument, schema = struct.unpack_from("<HH", raw, self.record_size - 16)
        symbol = None if instrument == 65535 else self.symbol(instrument)
        name = dataset.split(b"\0", 1)[0].decode("utf-8", "replace")
        if raw[self.record_size - 5] == GAP_REPAIRED:
            return Repaired(seq, symbol, name, schema, start, end, rows)
        return UpstreamGap(seq, symbol, name, schema, start, end, None if rows < 0 else rows, raw[self.record_size - 5])

    def read(self, start, limit=1024):
        """Records from sequence `start` on, at most `limit`, and the sequence to go on at. Never waits."""
        events, seq, written = [], start, self.write_seq
        while seq < written and len(events) < limit:
            raw = self._copy(seq)
            if raw is None:
                end = min(max(seq + 1, self.write_seq - (self.capacity - self.capacity // 4)), max(self.write_seq, seq + 1))
                events.append(Gap(seq, end))
                seq = end
                continue
            record = self._record(seq, raw)
            if record is not None:
                events.append(record)
            seq += 1
        return events, seq

    def last(self, symbol, depth, before=None):
        """The newest `depth` rows of a symbol before sequence `before`, oldest first, and whether they are that many."""
        before = self.write_seq if before is None else before
        rows = []
        for entry in self.entries():
            if entry is None or entry.type != 1 or entry.symbol != symbol:
                continue
            stamp = self._u64(self._dict + entry.index * DICT_ENTRY)
            while stamp and len(rows) < depth:
                raw = self._copy(stamp - 1)
                if raw is None or raw[self.record_size - 6] & 15 != ROW:
                    break
                if struct.unpack_from("<H", raw, self.record_size - 16)[0] != entry.index:
                    break
                if stamp - 1 < before:
                    rows.append(self._record(stamp - 1, raw))
                back = struct.unpack_from("<I", raw, self.record_size - 4)[0] >> 8
                stamp = stamp - back if 0 < back < stamp else 0
        return rows[::-1], len(rows) == depth

    def follow(self, start=None, poll_seconds=0.001):
        """Records and gaps for ever, from `start` (default: the next one) on; ends when the segment was retired."""
        seq = self.write_seq if start is None else start
        while True:
            state = self.state
            events, seq = self.read(seq)
            yield from events
            if not events:
                if state == "retired":
                    return
                time.sleep(poll_seconds)


def main():
    import json
    import sys

    if len(sys.argv) < 3:
        sys.exit("usage: dm_ring.py DIRECTORY NAME [COUNT]   prints records from the oldest on, one JSON object a line")
    count = int(sys.argv[3]) if len(sys.argv) > 3 else None
    with Ring(sys.argv[1], sys.argv[2]) as ring:
        for n, event in enumerate(ring.follow(ring.oldest), 1):
            replay = {"replay": True} if hasattr(event, "seq") and ring.is_replay(event.seq) else {}
            print(json.dumps({"type": type(event).__name__, **event._asdict(), **replay}), flush=True)
            if n == count:
                break


if __name__ == "__main__":
    main()
