/*
 * dm_ring.h - shared-memory ring of market data: contract, layout and reader. ABI 1.1.
 *
 * CONTRACT
 *   One producer process, any number of reader processes on one host. Little-endian, 64-bit, POSIX shared files.
 *   - A *sequence* numbers records from 0, across restarts of the producer. Record `seq` stands in slot `seq & (capacity
 *     - 1)` until record `seq + capacity` replaces it. `write_seq` counts the committed records.
 *   - The producer never waits for readers (unless it chose to, for a bounded time). A reader that is overtaken learns
 *     exactly which sequences it lost: the *gap* `[from, to)`. No torn record is ever delivered, no loss is silent.
 *   - The record schema is fixed per ring: trades (64-byte slots) or quotes (128-byte slots).
 *   - `<name>.ring` is written by the producer alone; readers map it PROT_READ. `<name>.ctl` holds the readers' rows,
 *     `<name>.bell.<n>` is the FIFO that wakes reader row n; both exist for waking and statistics only.
 *   - A producer is alive exactly while it holds the OFD write lock on `.ring`; a reader row is taken exactly while its
 *     owner holds the OFD write lock on the bytes of the row. Process ids are for people: they mean nothing elsewhere.
 *
 *   `.ring`    0    | header 4096: identity | write_seq | durable_seq | producer | dict_count | epoch log |
 *              +    | time index: time_cap x 24    { stamp, seq, publish_ns }
 *              +    | dictionary: dict_cap x 192   | last_seq, own cache line | id, scales, texts (128) |
 *              +    | slots: capacity x record_size
 *
 *   slot       | stamp u64 | payload ... | tail 16 |      stamp = seq + 1: complete; all ones: being written
 *   tail       | instrument u16 | publisher u16 | ts_in_delta i32 | price exp i8 | size exp i8 | kind u8 | flags u8 |
 *              | back24_depth u32: depth in the low 8 bits, distance to the previous record of the instrument above |
 *
 * PROTOCOL
 *   Producer, per record: stamp = ~0; release fence; payload; stamp = seq + 1 (release); dictionary last_seq (release).
 *   Per batch: write_seq (release); full fence; for every armed reader: take its flag, write one byte to its FIFO.
 *   Reader: write_seq (acquire); per slot: stamp (acquire) == seq + 1, copy, acquire fence, stamp again equal.
 *   Replay: rows that are not live stand in *stretches* of sequences. The producer opens one (end_seq all ones, then number
 *     and replay_count with release) before the first row, and closes it (end_seq, release) before the next live one.
 *   Sleeping: set own bit in `armed` (seq_cst), read write_seq again, sleep only if there is still nothing.
 *
 * VERSIONS
 *   A reader refuses another major version and accepts a higher minor one: minors only add meaning to zero bytes.
 *   1.1: stretches of replay. To readers of 1.0 their rows are rows like all others.
 *
 * SAFETY
 *   Everything read from a file is checked before use; identity fields are copied once. A file may lie, but it cannot
 *   make this reader crash, loop for ever or allocate. What no check can prevent: its owner truncates it (SIGBUS);
 *   therefore only files of the expected owner are opened.
 */
#ifndef DM_RING_H
#define DM_RING_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "dm_ring.h needs a little-endian machine"
#endif

#define DM_MAGIC 0x3130474e49524d44ull /* "DMRING01" */
#define DM_CTL_MAGIC 0x31304c54434d44ull /* "DMCTL01" */
#define DM_ABI_MAJOR 1
#define DM_ABI_MINOR 1
#define DM_HEADER_BYTES 4096u
#define DM_DICT_ENTRY 192u
#define DM_DICT_MAX 65535u /* index 65535 means "all instruments" in control records */
#define DM_TEXT_MAX 112u
#define DM_MIN_CAPACITY 16u
#define DM_MAX_CAPACITY (1u << 24) /* the back distance has 24 bits */
#define DM_TIME_ENTRY 24u
#define DM_EPOCHS 16u
#define DM_REPLAYS 16u
#define DM_BUSY UINT64_MAX
#define DM_ALL_INSTRUMENTS 65535u

enum { DM_SCHEMA_TRADES = 1, DM_SCHEMA_QUOTES = 2 };
enum { DM_INIT = 0, DM_LIVE = 1, DM_CLOSED = 2, DM_RETIRED = 3 };
enum { DM_KIND_ROW = 1, DM_KIND_TEXT = 2, DM_KIND_CONTROL = 3 };
enum { DM_REPLAY_WINDOW = 1, DM_REPLAY_RELOAD = 2 }; /* a window of the store on demand; put back into an empty ring */
enum { DM_ENTRY_INSTRUMENT = 1, DM_ENTRY_PUBLISHER = 2 };

/* Slots are words to the copying loops and structures to everybody else. */
#define DM_ALIAS __attribute__((may_alias))
typedef uint64_t DM_ALIAS dm_word;

/* Results below zero. The words after them are what the caller should do. */
enum {
  DM_OK = 0,
  DM_E_SYSTEM = -1,       /* errno tells */
  DM_E_MISSING = -2,      /* no such ring: start the producer */
  DM_E_NOT_A_RING = -3,   /* wrong magic or size: the name belongs to something else */
  DM_E_VERSION = -4,      /* other ABI major: upgrade the older side */
  DM_E_LAYOUT = -5,       /* header contradicts itself: the file is damaged */
  DM_E_OWNER = -6,        /* wrong owner, mode or file type: somebody else made it */
  DM_E_BUSY = -7,         /* another producer holds the lease */
  DM_E_NO_SPACE = -8,     /* the file system is too small */
  DM_E_FULL = -9,         /* reader table or dictionary full */
  DM_E_ARGUMENT = -10,    /* value out of range */
  DM_E_REWOUND = -11,     /* write_seq went backwards: the file was tampered with */
  DM_E_UNSUPPORTED = -12  /* this platform has no such transport */
};

/* ------------------------------------------------------------------------------------------------ layout */

typedef struct dm_epoch { uint64_t epoch, first_seq; } dm_epoch;

/* Records [first_seq, end_seq) are a replay of stored rows. */
typedef struct DM_ALIAS dm_replay {
  uint64_t number;             /*  0 of this stretch, from 1; 0: being written */
  uint64_t first_seq, end_seq; /*  8 end: all ones while it goes on */
  int64_t start, end;          /* 24 the time that is replayed, ns, half-open */
  uint32_t speed_milli;        /* 40 thousandths of real time; 0: as fast as possible */
  uint32_t cause;              /* 44 DM_REPLAY_* */
  uint8_t reserved[16];
} dm_replay;

typedef struct DM_ALIAS dm_header {
  uint64_t magic;                 /*   0 stored last, with release */
  uint16_t abi_major, abi_minor;  /*   8 */
  uint32_t header_bytes;          /*  12 */
  uint64_t epoch;                 /*  16 producer generation, from 1 */
  uint64_t capacity;              /*  24 slots, a power of two */
  uint32_t record_size;           /*  32 64 or 128 */
  uint32_t record_schema;         /*  36 DM_SCHEMA_* */
  uint64_t data_off, dict_off;    /*  40 page aligned */
  uint32_t dict_cap, dict_entry;  /*  56 */
  uint64_t total_bytes;           /*  64 size of the file */
  uint8_t segment_uuid[16];       /*  72 */
  uint64_t time_off;              /*  88 */
  uint32_t time_cap;              /*  96 a power of two */
  uint32_t time_interval;         /* 100 records between two entries, at most */
  uint64_t base_seq;              /* 104 first sequence of this segment */
  uint64_t reserved0;             /* 112 */
  uint32_t header_crc;            /* 120 CRC-32 (zlib) of bytes 8..15 and 24..119 */
  uint32_t reserved1;             /* 124 */
  uint64_t write_seq;             /* 128 committed records */
  uint8_t pad1[56];
  uint64_t durable_seq;           /* 192 every record before it is committed in the store; 0 without a store */
  uint8_t pad2[56];
  uint64_t heartbeat_ns;          /* 256 CLOCK_MONOTONIC of the producer */
  uint32_t producer_pid;          /* 264 */
  uint32_t state;                 /* 268 DM_INIT ... */
  uint64_t start_time;            /* 272 wall clock ns when this generation began */
  uint8_t boot_id[16];            /* 280 */
  uint64_t wall_ns;               /* 296 wall clock at the last heartbeat */
  uint8_t pad3[80];
  uint32_t dict_count;            /* 384 entries in use, stored with release */
  uint32_t reserved2;             /* 388 */
  uint8_t pad4[120];
  dm_epoch epochs[DM_EPOCHS];     /* 512 generation e stands at e % 16 */
  uint8_t prev_uuid[16];          /* 768 the segment this one continues; zero: none */
  uint8_t pad5[112];
  uint64_t replay_count;          /* 896 stretches so far, stored with release */
  uint8_t pad6[120];
  dm_replay replays[DM_REPLAYS];  /* 1024 stretch n stands at n % 16; older ones are forgotten */
  uint8_t pad7[2048];
} dm_header;

typedef struct DM_ALIAS dm_time_entry { uint64_t stamp, seq, publish_ns; } dm_time_entry; /* stamp as in slots, of its own count */

typedef struct DM_ALIAS dm_dict_entry {
  uint64_t last_seq;       /*  0 seq + 1 of the newest record of the instrument; 0: none. Alone in its cache line */
  uint8_t pad0[56];
  uint32_t native_id;      /* 64 id in the producer's registry, advisory */
  uint8_t type;            /* 68 DM_ENTRY_* */
  uint8_t key_kind;        /* 69 0 sequenced, 1 venue id, 2 text hash */
  uint8_t price_scale;     /* 70 decimal places in the store, advisory */
  uint8_t size_scale;      /* 71 */
  uint16_t context;        /* 72 equal for entries of one provider, dataset and key kind */
  uint16_t publisher;      /* 74 of DM_ENTRY_PUBLISHER: the number that the text names */
  uint8_t asset_class;     /* 76 */
  uint8_t dataset_length;  /* 77 bytes of the symbol before its colon; of a publisher: of the dataset */
  uint8_t symbol_length;   /* 78 DATASET:RAW_SYMBOL; of a publisher: DATASET:VENUE */
  uint8_t provider_length; /* 79 */
  char text[DM_TEXT_MAX];  /* 80 symbol, provider, exchange one after another, UTF-8; the exchange ends at a NUL or 112 */
} dm_dict_entry;

/* Common end of every slot. */
typedef struct DM_ALIAS dm_tail {
  uint16_t instrument;   /* dictionary index */
  uint16_t publisher;
  int32_t ts_in_delta;   /* ns from the venue's sending to ts_recv; -2^31: absent */
  int8_t price_exponent, size_exponent;
  uint8_t kind;          /* bits 0-3 DM_KIND_*, 4-5 side (0 none, 1 buy, 2 sell), 6-7 text slots that follow */
  uint8_t flags;
  uint32_t back;         /* bits 0-7 depth, 8-31 distance to the previous row of the instrument; 0: none */
} dm_tail;

typedef struct DM_ALIAS dm_trade {
  uint64_t stamp;
  int64_t price, size;      /* mantissas; 2^63-1: absent */
  int64_t ts_event, ts_recv; /* ns since the epoch; 2^63-1: absent */
  int64_t trade_key;
  dm_tail tail;             /* 48 */
} dm_trade;

typedef struct DM_ALIAS dm_quote {
  uint64_t stamp;
  int64_t bid_price, ask_price;
  int64_t ts_event, ts_recv;
  int64_t quote_key;
  int64_t price, size, bid_size, ask_size; /* 48 56 64 72 */
  uint32_t bid_count, ask_count;           /* 80 84 */
  uint16_t bid_publisher, ask_publisher;   /* 88 90 */
  uint8_t schema, action;                  /* 92 93 */
  uint8_t reserved[18];
  dm_tail tail;                            /* 112 */
} dm_quote;

#define DM_GAP_REPAIRED 128u
/* DM_KIND_TEXT: bytes 8..47 of the slot are the next 40 bytes of a text id; tail.flags counts the used ones.
   DM_KIND_CONTROL, a gap upstream of the ring: */
typedef struct DM_ALIAS dm_gap_record {
  uint64_t stamp;
  int64_t start, end;   /* ns, half-open, on the index clock of the schema */
  int64_t rows;         /* -1: unknown */
  char dataset[16];
  /* tail: instrument or 65535, publisher = market schema code, flags = cause code; DM_GAP_REPAIRED instead of a cause: the
     time was lost and is in the store now, `rows` were added to it */
} dm_gap_record;

#define DM_MAX_READERS 128u
typedef struct dm_reader_row {
  uint64_t read_seq;     /*   0 next sequence to read */
  uint64_t heartbeat_ns; /*   8 */
  uint64_t gaps, lost;   /*  16 */
  uint64_t delivered;    /*  32 */
  uint64_t suppressed;   /*  40 not wanted by the symbol filter */
  uint32_t pid;          /*  48 */
  uint32_t mode;         /*  52 0 park, 1 linger, 2 spin */
  uint64_t start_time;   /*  56 */
  uint32_t blocking;     /*  64 1: hold the producer (where it allows that) rather than lose */
  uint32_t demoted;      /*  68 times the producer gave up waiting for this reader */
  uint8_t reserved[8];
  char name[48];         /*  80 */
} dm_reader_row;

typedef struct dm_ctl_header {
  uint64_t magic;
  uint16_t abi_major, abi_minor;
  uint32_t readers;      /* 12 rows */
  uint8_t pad0[112];
  uint64_t armed[2];     /* 128 bit n: reader n sleeps */
  uint8_t pad1[112];
  uint64_t blocking[2];  /* 256 bit n: reader n wants to hold the producer */
  uint8_t pad2[240];
} dm_ctl_header;         /* 512, then the rows */
#define DM_CTL_BYTES (512u + DM_MAX_READERS * 128u)

#define DM_PIN(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
DM_PIN(dm_header, epoch, 16); DM_PIN(dm_header, capacity, 24); DM_PIN(dm_header, record_size, 32);
DM_PIN(dm_header, data_off, 40); DM_PIN(dm_header, dict_cap, 56); DM_PIN(dm_header, total_bytes, 64);
DM_PIN(dm_header, segment_uuid, 72); DM_PIN(dm_header, time_off, 88); DM_PIN(dm_header, base_seq, 104);
DM_PIN(dm_header, header_crc, 120); DM_PIN(dm_header, write_seq, 128); DM_PIN(dm_header, durable_seq, 192);
DM_PIN(dm_header, heartbeat_ns, 256); DM_PIN(dm_header, state, 268); DM_PIN(dm_header, boot_id, 280);
DM_PIN(dm_header, wall_ns, 296); DM_PIN(dm_header, dict_count, 384); DM_PIN(dm_header, epochs, 512);
DM_PIN(dm_header, prev_uuid, 768); DM_PIN(dm_header, replay_count, 896);
DM_PIN(dm_header, replays, 1024); DM_PIN(dm_replay, start, 24); DM_PIN(dm_replay, cause, 44); DM_PIN(dm_dict_entry, native_id, 64); DM_PIN(dm_dict_entry, context, 72);
DM_PIN(dm_dict_entry, symbol_length, 78); DM_PIN(dm_dict_entry, text, 80);
DM_PIN(dm_trade, trade_key, 40); DM_PIN(dm_trade, tail, 48); DM_PIN(dm_quote, bid_count, 80);
DM_PIN(dm_quote, schema, 92); DM_PIN(dm_quote, tail, 112); DM_PIN(dm_tail, ts_in_delta, 4);
DM_PIN(dm_tail, kind, 10); DM_PIN(dm_tail, back, 12); DM_PIN(dm_gap_record, dataset, 32);
DM_PIN(dm_reader_row, pid, 48); DM_PIN(dm_reader_row, name, 80); DM_PIN(dm_ctl_header, armed, 128);
DM_PIN(dm_ctl_header, blocking, 256);
_Static_assert(sizeof(dm_header) == DM_HEADER_BYTES, "header");
_Static_assert(sizeof(dm_replay) == 64, "replay");
_Static_assert(sizeof(dm_dict_entry) == DM_DICT_ENTRY, "dictionary entry");
_Static_assert(sizeof(dm_trade) == 64 && sizeof(dm_quote) == 128 && sizeof(dm_tail) == 16, "slots");
_Static_assert(sizeof(dm_reader_row) == 128 && sizeof(dm_ctl_header) == 512, "ctl");

/* ------------------------------------------------------------------------------------------------ access */

/* Shared words are only touched through these, so that no compiler may split, repeat or merge an access. */
#define dm_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define dm_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define dm_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define dm_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static inline uint32_t dm_crc32(uint32_t crc, const void *data, size_t length) {
  const uint8_t *p = (const uint8_t *)data;
  crc = ~crc;
  while (length--) {
    crc ^= *p++;
    for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

static inline uint32_t dm_header_crc(const dm_header *h) {
  uint32_t crc = dm_crc32(0, (const uint8_t *)h + 8, 8);
  return dm_crc32(crc, (const uint8_t *)h + 24, 96);
}

/* A mapped segment: identity fields copied and checked once. */
typedef struct dm_ring {
  const uint8_t *base;
  const dm_header *header;
  const uint8_t *slots;
  const dm_dict_entry *dict;
  const dm_time_entry *times;
  uint64_t bytes, capacity, mask, base_seq;
  uint32_t record_size, record_schema, dict_cap, time_cap, time_interval;
  uint8_t uuid[16], prev_uuid[16];
} dm_ring;

static inline int dm_range_fits(uint64_t offset, uint64_t bytes, uint64_t total) {
  return offset >= DM_HEADER_BYTES && (offset & 63) == 0 && offset <= total && bytes <= total - offset;
}

/* Checks the header of `bytes` mapped bytes and fills `ring`. Costs one pass over 4 KiB, allocates nothing. */
static inline int dm_ring_check(dm_ring *ring, const void *base, uint64_t bytes) {
  if (bytes < DM_HEADER_BYTES) return DM_E_NOT_A_RING;
  const dm_header *shared = (const dm_header *)base;
  if (dm_load_acquire(&shared->magic) != DM_MAGIC) return DM_E_NOT_A_RING;
  dm_header h;
  memcpy(&h, base, sizeof h);
  if (h.abi_major != DM_ABI_MAJOR) return DM_E_VERSION;
  if (h.header_crc != dm_header_crc(&h)) return DM_E_LAYOUT;
  uint32_t size = h.record_schema == DM_SCHEMA_TRADES ? 64u : h.record_schema == DM_SCHEMA_QUOTES ? 128u : 0u;
  if (size == 0 || h.record_size != size || h.header_bytes != DM_HEADER_BYTES) return DM_E_LAYOUT;
  if (h.capacity < DM_MIN_CAPACITY || h.capacity > DM_MAX_CAPACITY || (h.capacity & (h.capacity - 1))) return DM_E_LAYOUT;
  if (h.dict_entry != DM_DICT_ENTRY || h.dict_cap == 0 || h.dict_cap > DM_DICT_MAX) return DM_E_LAYOUT;
  if (h.time_cap == 0 || h.time_cap > (1u << 20) || (h.time_cap & (h.time_cap - 1))) return DM_E_LAYOUT;
  if (h.total_bytes != bytes) return DM_E_LAYOUT;
  if (!dm_range_fits(h.time_off, (uint64_t)h.time_cap * DM_TIME_ENTRY, bytes)) return DM_E_LAYOUT;
  if (!dm_range_fits(h.dict_off, (uint64_t)h.dict_cap * DM_DICT_ENTRY, bytes)) return DM_E_LAYOUT;
  if (!dm_range_fits(h.data_off, h.capacity * size, bytes)) return DM_E_LAYOUT;
  ring->base = (const uint8_t *)base;
  ring->header = shared;
  ring->slots = ring->base + h.data_off;
  ring->dict = (const dm_dict_entry *)(ring->base + h.dict_off);
  ring->times = (const dm_time_entry *)(ring->base + h.time_off);
  ring->bytes = bytes;
  ring->capacity = h.capacity;
  ring->mask = h.capacity - 1;
  ring->base_seq = h.base_seq;
  ring->record_size = size;
  ring->record_schema = h.record_schema;
  ring->dict_cap = h.dict_cap;
  ring->time_cap = h.time_cap;
  ring->time_interval = h.time_interval;
  memcpy(ring->uuid, h.segment_uuid, 16);
  memcpy(ring->prev_uuid, h.prev_uuid, 16);
  return DM_OK;
}

/* Opens and maps `name` in the directory `dirfd` for reading. `owner`: the user id that must own the file. `*fd_out` stays
   open: through it the producer's lock is tested. Unmap with dm_ring_unmap. */
static inline int dm_ring_map(int dirfd, const char *name, uint32_t owner, dm_ring *ring, int *fd_out) {
  int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? DM_E_MISSING : errno == ELOOP ? DM_E_OWNER : DM_E_SYSTEM;
  struct stat st;
  int result = DM_E_SYSTEM;
  if (fstat(fd, &st) == 0) {
    if (!S_ISREG(st.st_mode) || st.st_uid != owner || (st.st_mode & 0022)) result = DM_E_OWNER;
    else if (st.st_size < (off_t)DM_HEADER_BYTES) result = DM_E_NOT_A_RING;
    else {
      int flags = MAP_SHARED;
#ifdef MAP_POPULATE
      flags |= MAP_POPULATE; /* page faults on the first lap cost 20 times the record itself */
#endif
      void *base = mmap(NULL, (size_t)st.st_size, PROT_READ, flags, fd, 0);
      if (base != MAP_FAILED) {
        result = dm_ring_check(ring, base, (uint64_t)st.st_size);
        if (result != DM_OK) munmap(base, (size_t)st.st_size);
      }
    }
  }
  if (result == DM_OK) *fd_out = fd;
  else {
    int saved = errno;
    close(fd);
    errno = saved;
  }
  return result;
}

static inline void dm_ring_unmap(dm_ring *ring, int fd) {
  if (ring->base) munmap((void *)(uintptr_t)ring->base, (size_t)ring->bytes);
  ring->base = NULL;
  if (fd >= 0) close(fd);
}

/* ------------------------------------------------------------------------------------------------ reading */

static inline uint64_t dm_ring_write_seq(const dm_ring *r) { return dm_load_acquire(&r->header->write_seq); }

static inline uint32_t dm_ring_dict_count(const dm_ring *r) {
  uint32_t count = dm_load_acquire(&r->header->dict_count);
  return count > r->dict_cap ? r->dict_cap : count;
}

/* The oldest sequence that is safe to start at: an eighth of the ring ahead of the producer's next overwrite. */
static inline uint64_t dm_ring_oldest(const dm_ring *r) {
  uint64_t written = dm_ring_write_seq(r);
  uint64_t keep = r->capacity - r->capacity / 8;
  uint64_t oldest = written > keep ? written - keep : 0;
  return oldest < r->base_seq ? r->base_seq : oldest;
}

static inline const dm_word *dm_ring_slot(const dm_ring *r, uint64_t seq) {
  return (const dm_word *)(const void *)(r->slots + (seq & r->mask) * r->record_size);
}

/* Copies record `seq` to `out` (record_size bytes, 8-aligned). 1: it is that record; 0: it is not there (any more). */
static inline int dm_ring_copy(const dm_ring *r, uint64_t seq, void *out) {
  const dm_word *slot = dm_ring_slot(r, seq);
  dm_word *to = (dm_word *)out;
  if (dm_load_acquire(&slot[0]) != seq + 1) return 0;
  to[0] = seq + 1;
  /* Written out: compilers leave a loop over atomic loads as a loop, which costs a quarter of a poll. */
#define DM_COPY(i) to[i] = dm_load(&slot[i])
  DM_COPY(1); DM_COPY(2); DM_COPY(3); DM_COPY(4); DM_COPY(5); DM_COPY(6); DM_COPY(7);
  if (r->record_size == 128) {
    DM_COPY(8); DM_COPY(9); DM_COPY(10); DM_COPY(11); DM_COPY(12); DM_COPY(13); DM_COPY(14); DM_COPY(15);
  }
#undef DM_COPY
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return dm_load(&slot[0]) == seq + 1;
}

static inline dm_tail *dm_row_tail(void *row, uint32_t record_size) {
  return (dm_tail *)(void *)((uint8_t *)row + record_size - sizeof(dm_tail));
}

/* Copies stretch `number`; 0: it is forgotten, or was never. */
static inline int dm_ring_replay(const dm_ring *r, uint64_t number, dm_replay *out) {
  const dm_replay *e = &r->header->replays[number % DM_REPLAYS];
  if (number == 0 || dm_load_acquire(&e->number) != number) return 0;
  out->number = number;
  out->first_seq = dm_load(&e->first_seq);
  out->end_seq = dm_load(&e->end_seq);
  out->start = dm_load(&e->start);
  out->end = dm_load(&e->end);
  out->speed_milli = dm_load(&e->speed_milli);
  out->cause = dm_load(&e->cause);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return dm_load(&e->number) == number;
}

/* The number of the stretch that record `seq` stands in, 0: it is live. The answer holds up to `*edge`, which is behind seq.
   Read write_seq (acquire) first, and ask for records before it alone. Records from before the last DM_REPLAYS stretches may
   be of one that is forgotten: they count as of the one before these. */
static inline uint64_t dm_ring_replay_at(const dm_ring *r, uint64_t seq, uint64_t *edge) {
  uint64_t count = dm_load_acquire(&r->header->replay_count);
  *edge = UINT64_MAX;
  for (uint64_t n = count, left = DM_REPLAYS; n > 0 && left > 0; n--, left--) {
    dm_replay e;
    if (!dm_ring_replay(r, n, &e)) continue;
    if (e.first_seq <= seq && seq < e.end_seq) {
      *edge = e.end_seq;
      return n;
    }
    if (e.first_seq > seq && e.first_seq < *edge) *edge = e.first_seq;
    if (left == 1 && n > 1 && e.first_seq > seq) return n - 1;
  }
  return 0;
}

enum { DM_POLL_EMPTY = 0, DM_POLL_ROWS = 1, DM_POLL_GAP = 2, DM_POLL_DICT = 3, DM_POLL_SCANNED = 4, DM_POLL_EPOCH = 5 };

/* A reader's place. Start with zeroes and `next`; one thread at a time. */
typedef struct dm_cursor {
  uint64_t next;            /* sequence to read next */
  uint64_t until;           /* do not read at or beyond it; 0: no limit */
  uint64_t epoch;           /* generation the caller knows; 0: do not watch */
  uint64_t seen;            /* write_seq at the last poll */
  uint64_t gap_from, gap_to;
  uint64_t gaps, lost, delivered, suppressed;
  const uint64_t *filter;   /* bit per dictionary index, dict_cap bits; NULL: everything */
  uint32_t known_dict;      /* dictionary entries the caller knows */
  uint32_t watch_dict;      /* 1: stop with DM_POLL_DICT before records that may refer to unknown entries */
  uint32_t scan_limit;      /* records looked at per poll; 0: 65,536 */
  uint64_t replay;          /* stretch of replay that the rows of the last poll stand in; 0: they are live */
} dm_cursor;

static inline uint64_t dm_gap_end(const dm_ring *r, uint64_t next) {
  uint64_t written = dm_ring_write_seq(r);
  uint64_t keep = r->capacity - r->capacity / 8;
  uint64_t to = written > keep ? written - keep : 0;
  return to > next + 1 ? to : next + 1;
}

/* Whether the filter wants record `seq`: 1 yes, 0 no, -1 the record is not there. */
static inline int dm_wanted(const dm_ring *r, const uint64_t *filter, uint64_t seq) {
  const dm_word *slot = dm_ring_slot(r, seq);
  if (dm_load_acquire(&slot[0]) != seq + 1) return -1;
  uint32_t instrument = (uint32_t)(dm_load(&slot[r->record_size / 8 - 2]) & 0xffff);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (dm_load(&slot[0]) != seq + 1) return -1;
  if (instrument >= r->dict_cap) return 1;
  return (int)((filter[instrument >> 6] >> (instrument & 63)) & 1);
}

/*
 * Copies up to `limit` (>= 4) rows to `out`. `*count` is how many. Returns
 *   DM_POLL_ROWS    rows are there
 *   DM_POLL_EMPTY   nothing new
 *   DM_POLL_GAP     records [gap_from, gap_to) are lost; the cursor stands behind them. Rows before come first
 *   DM_POLL_DICT    read new dictionary entries, set known_dict, poll again
 *   DM_POLL_EPOCH   the producer restarted: set `until` to the start of the new generation and `epoch` to its number
 *   DM_POLL_SCANNED the scan limit was reached without a wanted row; poll again
 *   DM_E_REWOUND    the file was tampered with
 * A row and the text slots that belong to it are never separated. The rows of a poll are all live or all of one stretch of
 * replay, which `replay` names.
 */
static inline int dm_ring_poll(const dm_ring *r, dm_cursor *c, void *out, uint32_t limit, uint32_t *count) {
  *count = 0;
  uint64_t written = dm_ring_write_seq(r);
  if (written < c->seen || c->next > written) return DM_E_REWOUND;
  c->seen = written;
  if (c->epoch && dm_load_acquire(&r->header->epoch) != c->epoch) return DM_POLL_EPOCH;
  if (c->watch_dict && dm_ring_dict_count(r) > c->known_dict) return DM_POLL_DICT;
  if (c->until && c->until < written) written = c->until;
  uint64_t scan = c->scan_limit ? c->scan_limit : 65536;
  uint64_t end = written - c->next > scan ? c->next + scan : written;
  c->replay = 0;
  if (dm_load(&r->header->replay_count)) {
    uint64_t edge;
    c->replay = dm_ring_replay_at(r, c->next, &edge);
    if (edge < end) end = edge;
  }
  uint64_t seq = c->next, suppressed = 0;
  uint8_t *to = (uint8_t *)out;
  uint32_t rows = 0;
  for (; seq < end && rows < limit; seq++) {
    if (c->filter) {
      int wanted = dm_wanted(r, c->filter, seq);
      if (wanted < 0) break;
      if (!wanted) { suppressed++; continue; }
    }
    if (!dm_ring_copy(r, seq, to)) break;
    const dm_tail *tail = dm_row_tail(to, r->record_size);
    uint32_t texts = (tail->kind & 15) == DM_KIND_ROW ? tail->kind >> 6 : 0;
    if (texts && rows && rows + 1 + texts > limit) goto done;
    if (texts && seq + 1 + texts > end && end < written && seq > c->next) goto done;
    to += r->record_size;
    rows++;
  }
  if (seq < end && rows < limit) { /* a record is missing */
    if (rows == 0) {
      c->suppressed += suppressed;
      c->gap_from = seq;
      c->gap_to = dm_gap_end(r, seq);
      if (c->until && c->gap_to > c->until) c->gap_to = c->until;
      c->gaps++;
      c->lost += c->gap_to - c->gap_from;
      c->next = c->gap_to;
      return DM_POLL_GAP;
    }
  }
done:
  c->next = seq;
  c->delivered += rows;
  c->suppressed += suppressed;
  *count = rows;
  return rows ? DM_POLL_ROWS : suppressed && seq < written ? DM_POLL_SCANNED : DM_POLL_EMPTY;
}

/*
 * The newest rows of an instrument before sequence `before`, newest first, at most `depth`. Together with a cursor that
 * starts at `before` this is snapshot + delta with an exact boundary, from the ring alone. `*complete`: depth was reached.
 */
static inline uint32_t dm_ring_last(const dm_ring *r, uint32_t instrument, uint64_t before, void *out, uint32_t depth,
                                    int *complete) {
  *complete = 0;
  if (instrument >= dm_ring_dict_count(r)) return 0;
  uint64_t stamp = dm_load_acquire(&r->dict[instrument].last_seq);
  uint8_t *to = (uint8_t *)out;
  uint32_t rows = 0;
  for (uint64_t steps = 0; stamp != 0 && rows < depth && steps < r->capacity; steps++) {
    uint64_t seq = stamp - 1, row[16] = {0};
    if (!dm_ring_copy(r, seq, row)) break;
    const dm_tail *tail = dm_row_tail(row, r->record_size);
    if (tail->instrument != instrument || (tail->kind & 15) != DM_KIND_ROW) break;
    if (seq < before) {
      memcpy(to, row, r->record_size);
      to += r->record_size;
      rows++;
    }
    uint64_t back = tail->back >> 8;
    stamp = back == 0 || back > seq ? 0 : stamp - back;
  }
  *complete = rows == depth;
  return rows;
}

/* The sequence to start at for "everything published at or after `wall_ns`": exact to one index interval. */
static inline uint64_t dm_ring_seek_time(const dm_ring *r, uint64_t wall_ns) {
  uint64_t oldest = dm_ring_oldest(r), written = dm_ring_write_seq(r), best = oldest;
  for (uint32_t i = 0; i < r->time_cap; i++) {
    const dm_time_entry *e = &r->times[i];
    uint64_t stamp = dm_load_acquire(&e->stamp);
    uint64_t seq = dm_load(&e->seq), ns = dm_load(&e->publish_ns);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (stamp == 0 || stamp == DM_BUSY || dm_load(&e->stamp) != stamp) continue;
    if (ns <= wall_ns && seq > best && seq <= written) best = seq;
  }
  return best;
}

/* Copies dictionary entry `index`; DM_E_LAYOUT where its lengths lie. */
static inline int dm_ring_entry(const dm_ring *r, uint32_t index, dm_dict_entry *out) {
  if (index >= dm_ring_dict_count(r)) return DM_E_ARGUMENT;
  const dm_word *from = (const dm_word *)(const void *)&r->dict[index];
  dm_word *to = (dm_word *)(void *)out;
  for (uint32_t i = 0; i < DM_DICT_ENTRY / 8; i++) to[i] = dm_load(&from[i]);
  if ((uint32_t)out->symbol_length + out->provider_length > DM_TEXT_MAX) return DM_E_LAYOUT;
  if (out->dataset_length > out->symbol_length || out->key_kind > 2) return DM_E_LAYOUT;
  if (out->type != DM_ENTRY_INSTRUMENT && out->type != DM_ENTRY_PUBLISHER) return DM_E_LAYOUT;
  return DM_OK;
}

/* First sequence of generation `epoch`; -1 where the log no longer (or does not yet) holds it. */
static inline int64_t dm_ring_epoch_start(const dm_ring *r, uint64_t epoch) {
  const dm_epoch *e = &r->header->epochs[epoch % DM_EPOCHS];
  if (dm_load_acquire(&e->epoch) != epoch) return -1;
  return (int64_t)dm_load(&e->first_seq);
}

#endif
