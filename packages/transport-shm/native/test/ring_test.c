/*
 * Proof of the ring without Node. Payloads are hashes of the sequence, so a torn, repeated or misplaced record shows.
 *
 *   ring_test stress DIR SECONDS CAPACITY BATCH   producer at full speed against a lapped reader: nothing torn, loss exact
 *   ring_test follow DIR ROWS CAPACITY BATCH      producer waits for the reader: no gap at all, snapshots exact
 *   ring_test wake DIR WAKES                      random pauses: no wake-up is ever lost
 *   ring_test crash DIR KILLS                     producers killed at random: takeover, snapshots, sequences
 *   ring_test readers DIR KILLS                   readers killed at random: rows come back, the producer never notices
 *   ring_test stops DIR STOPS                     producer stopped (SIGSTOP) at random, also in mid-record: not dead, nothing torn
 *   ring_test fuzz SEED ROUNDS                    damaged segments and control files: errors, never a crash
 *   ring_test golden DIR                          writes the golden segments
 *
 * Prints one line of JSON; exit code 1 when a promise is broken.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <time.h>
#include "../src/ring.h"

#define SYMBOLS 61u

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what, int result) {
  fprintf(stderr, "%s: %d (%s)\n", what, result, strerror(errno));
  exit(2);
}

/* A child that ends with its parent, however that ends: it would run for ever. */
static pid_t fork_child(void) {
  pid_t pid = fork();
#ifdef __linux__
  if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  return pid;
}

/* ------------------------------------------------------------------------------------------------ producer side */

typedef struct tape {
  int64_t event[4096], recv[4096], key[4096], price[4096], size[4096];
  uint32_t instrument[4096];
  int32_t delta[4096];
  uint16_t publisher[4096];
  int8_t pexp[4096], sexp[4096];
  uint8_t side[4096], flags[4096], depth[4096];
} tape;

static dm_trade_columns columns_of(const tape *t) {
  return (dm_trade_columns){t->event, t->recv, t->key, t->price, t->size, t->instrument, t->delta, t->publisher,
                            t->pexp, t->sexp, t->side, t->flags, t->depth, NULL, NULL};
}

static void fill(tape *t, uint64_t seq, uint32_t rows, uint64_t salt) {
  for (uint32_t i = 0; i < rows; i++) {
    uint64_t h = mix(seq + i);
    t->key[i] = (int64_t)(seq + i);
    t->price[i] = (int64_t)h;
    t->size[i] = (int64_t)(h * 3);
    t->event[i] = (int64_t)(h * 5);
    t->recv[i] = (int64_t)(h * 7);
    t->delta[i] = (int32_t)h;
    t->pexp[i] = (int8_t)(h >> 8);
    t->sexp[i] = (int8_t)(h >> 16);
    t->side[i] = (uint8_t)(h % 3);
    t->flags[i] = (uint8_t)(h >> 24);
    t->depth[i] = (uint8_t)(h >> 32);
    t->publisher[i] = 0;
    /* The salt is the generation: after a crash another instrument gets the slot of an uncommitted record. */
    t->instrument[i] = (uint32_t)(mix(h ^ salt) % SYMBOLS);
  }
}

static int is_row(const dm_trade *r, uint64_t seq) {
  uint64_t h = mix(seq);
  return (uint64_t)r->trade_key == seq && (uint64_t)r->price == h && (uint64_t)r->size == h * 3 && (uint64_t)r->ts_event == h * 5 &&
         (uint64_t)r->ts_recv == h * 7 && r->tail.ts_in_delta == (int32_t)h && r->tail.price_exponent == (int8_t)(h >> 8) &&
         r->tail.flags == (uint8_t)(h >> 24) && (r->tail.back & 255) == (uint8_t)(h >> 32) && (r->tail.kind >> 4 & 3) == h % 3;
}

static void open_producer(dm_producer *p, const char *dir, uint64_t capacity, uint32_t block_us) {
  dm_options o = {.capacity = capacity, .record_schema = DM_SCHEMA_TRADES, .dict_cap = 256, .time_interval = 64, .block_us = block_us};
  int dirfd = dm_directory_open(dir, geteuid(), 1, 0);
  if (dirfd < 0) die("directory", dirfd);
  int result = dm_producer_open(p, dirfd, "t", &o);
  if (result != DM_OK) die("producer", result);
  for (uint32_t s = p->dict_count; s < SYMBOLS; s++) {
    char symbol[16];
    int length = snprintf(symbol, sizeof symbol, "TEST:S%u", s);
    dm_entry_text text = {.native_id = s, .type = DM_ENTRY_INSTRUMENT, .symbol = symbol, .symbol_length = (uint32_t)length,
                          .provider = "test", .provider_length = 4, .exchange = "", .dataset_length = 4};
    if (dm_dict_add(p, &text) != (int)s) die("dictionary", 0);
  }
  for (uint32_t s = 0; s < SYMBOLS; s++) dm_dict_bind(p, 0, s, s);
  dm_publisher_bind(p, 0, 0);
}

static void publish(dm_producer *p, tape *t, uint32_t rows) {
  uint32_t misses[4];
  dm_trade_columns c = columns_of(t);
  if (dm_resolve(p, 0, c.instrument, c.publisher, rows, misses, 4) != 0) die("resolve", 0);
  dm_publish_trades(p, &c, rows);
}

static tape tape_memory;

static void produce(const char *dir, uint64_t capacity, uint32_t batch, uint64_t rows, int follow) {
  dm_producer p;
  open_producer(&p, dir, capacity, 0);
  uint64_t seq = p.write_seq;
  dm_reader_row *row = (dm_reader_row *)(void *)((uint8_t *)p.ctl + 512);
  while (rows == 0 || seq < rows) {
    uint32_t n = batch ? batch : 1 + (uint32_t)(mix(seq) % 256);
    fill(&tape_memory, seq, n, p.epoch);
    /* A quarter of the ring ahead of the reader at most: it can never be overtaken. */
    while (follow && seq + n > dm_load_acquire(&row->read_seq) + capacity / 4) sched_yield();
    publish(&p, &tape_memory, n);
    seq += n;
  }
  dm_producer_close(&p);
}

static pid_t start_producer(const char *dir, uint64_t capacity, uint32_t batch, uint64_t rows, int follow) {
  pid_t pid = fork_child();
  if (pid != 0) return pid;
  produce(dir, capacity, batch, rows, follow);
  _exit(0);
}

/* ------------------------------------------------------------------------------------------------ reader side */

typedef struct check {
  dm_ring ring;
  int fd, dirfd;
  dm_reader reader;
  dm_cursor cursor;
  uint64_t expected, rows, torn, unreported, snapshots, snapshot_errors;
} check;

static void open_check(check *c, const char *dir) {
  memset(c, 0, sizeof *c);
  c->dirfd = dm_directory_open(dir, geteuid(), 1, 0);
  if (c->dirfd < 0) die("directory", c->dirfd);
  int result = DM_E_MISSING;
  for (int i = 0; i < 5000 && result == DM_E_MISSING; i++) {
    result = dm_ring_map(c->dirfd, "t.ring", geteuid(), &c->ring, &c->fd);
    if (result == DM_E_MISSING) usleep(1000);
  }
  if (result != DM_OK) die("map", result);
  for (int i = 0; i < 5000; i++) {
    result = dm_reader_attach(&c->reader, c->dirfd, "t", geteuid(), "check", 0, 0);
    if (result != DM_E_MISSING && result != DM_E_SYSTEM) break;
    usleep(1000);
  }
  if (result != DM_OK) die("attach", result);
  c->cursor.next = c->expected = dm_ring_write_seq(&c->ring);
}

static dm_trade rows_memory[1024 + 4];

static int poll_check(check *c) {
  uint32_t count = 0;
  int status = dm_ring_poll(&c->ring, &c->cursor, rows_memory, 1024, &count);
  if (status < 0) die("poll", status);
  if (status == DM_POLL_GAP) {
    if (c->cursor.gap_from != c->expected || c->cursor.gap_to <= c->cursor.gap_from) c->unreported++;
    /* Only what was overwritten may be missing, or what the batch at hand (a quarter of the ring at most) overwrites. */
    if (c->cursor.gap_from + c->ring.capacity > dm_ring_write_seq(&c->ring) + c->ring.capacity / 4) c->unreported++;
    c->expected = c->cursor.gap_to;
  }
  for (uint32_t i = 0; i < count; i++, c->expected++) {
    if ((uint64_t)rows_memory[i].trade_key != c->expected) c->unreported++;
    if (!is_row(&rows_memory[i], (uint64_t)rows_memory[i].trade_key)) c->torn++;
  }
  c->rows += count;
  dm_reader_report(&c->reader, &c->cursor);
  return status;
}

/* The newest rows of an instrument by the linked list against those found by looking at every slot. */
static void snapshot_check(check *c, uint32_t instrument, int last_resort) {
  enum { DEPTH = 32 };
  static dm_trade got[DEPTH];
  int complete;
  uint64_t before = dm_ring_write_seq(&c->ring);
  uint32_t rows = dm_ring_last(&c->ring, instrument, before, got, DEPTH, &complete), found = 0;
  uint64_t floor = before > c->ring.capacity / 2 ? before - c->ring.capacity / 2 : 0, errors = 0;
  for (uint64_t seq = before; seq > floor && found < DEPTH;) {
    uint64_t memory[16] = {0};
    const dm_trade *row = (const dm_trade *)(const void *)memory;
    if (!dm_ring_copy(&c->ring, --seq, memory)) break;
    if (row->tail.instrument != instrument || (row->tail.kind & 15) != DM_KIND_ROW) continue;
    if (found >= rows || got[found].stamp != row->stamp || !is_row(&got[found], seq)) {
      errors = 1;
      break;
    }
    found++;
  }
  if (rows > 0 && got[0].stamp > before) errors = 1;
  /* Overtaken while looking: says nothing. */
  if (errors && dm_ring_write_seq(&c->ring) - before > c->ring.capacity / 4 && !last_resort) return;
  c->snapshots++;
  c->snapshot_errors += errors;
}

static int is_bad(const check *c) { return c->torn || c->unreported || c->snapshot_errors; }

static int report(const char *mode, const check *c, uint64_t extra) {
  printf("{\"mode\":\"%s\",\"rows\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"torn\":%" PRIu64
         ",\"unreported\":%" PRIu64 ",\"snapshots\":%" PRIu64 ",\"snapshot_errors\":%" PRIu64 ",\"extra\":%" PRIu64 "}\n",
         mode, c->rows, c->cursor.lost, c->cursor.gaps, c->torn, c->unreported, c->snapshots, c->snapshot_errors, extra);
  return is_bad(c);
}

static void stop(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static int stress(const char *dir, double seconds, uint64_t capacity, uint32_t batch) {
  check c;
  pid_t producer = start_producer(dir, capacity, batch, 0, 0);
  open_check(&c, dir);
  uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), turns = 0;
  while (now_ns() < end && !is_bad(&c)) {
    poll_check(&c);
    if ((++turns & 63) == 0) snapshot_check(&c, (uint32_t)(turns >> 6) % SYMBOLS, 0);
  }
  stop(producer);
  return report("stress", &c, dm_ring_write_seq(&c.ring));
}

static int follow(const char *dir, uint64_t rows, uint64_t capacity, uint32_t batch) {
  check c;
  mkdir(dir, 0700);
  produce(dir, capacity, batch, 1, 0); /* the files, so that the reader is there before the first record that counts */
  open_check(&c, dir);
  dm_reader_report(&c.reader, &c.cursor);
  pid_t producer = start_producer(dir, capacity, batch, rows, 1);
  uint64_t turns = 0;
  while (c.expected < rows && !is_bad(&c) && c.cursor.gaps == 0) {
    if (poll_check(&c) == DM_POLL_EMPTY) sched_yield();
    if ((++turns & 255) == 0) snapshot_check(&c, (uint32_t)(turns >> 8) % SYMBOLS, 1);
  }
  if (c.expected < rows) stop(producer);
  else waitpid(producer, NULL, 0);
  return report("follow", &c, 0) || c.cursor.gaps > 0;
}

/* The reader sleeps as dm_ring.h says; a poll that ends by its timeout with records there is a lost wake-up. */
static int wake(const char *dir, uint64_t wakes) {
  check c;
  mkdir(dir, 0700);
  produce(dir, 4096, 1, 1, 0);
  open_check(&c, dir);
  dm_reader_report(&c.reader, &c.cursor);
  pid_t producer = fork_child();
  if (producer == 0) {
    dm_producer p;
    open_producer(&p, dir, 4096, 0);
    dm_reader_row *row = (dm_reader_row *)(void *)((uint8_t *)p.ctl + 512);
    for (uint64_t seq = p.write_seq, i = 0;; i++, seq++) {
      /* One record at a time, as soon as the reader has read the last one and is on its way to sleep. */
      while (dm_load_acquire(&row->read_seq) < seq) {}
      for (volatile uint64_t spin = mix(i) % 400; spin > 0; spin--) {}
      fill(&tape_memory, seq, 1, p.epoch);
      publish(&p, &tape_memory, 1);
    }
  }
  uint64_t slept = 0, lost = 0;
  struct pollfd fd = {.fd = c.reader.bell, .events = POLLIN};
  while (slept < wakes && lost == 0) {
    if (poll_check(&c) != DM_POLL_EMPTY) continue;
    /* The record should come at any point of the way to sleep. */
    for (volatile uint64_t spin = mix(slept * 3 + 1) % 600; spin > 0; spin--) {}
    dm_reader_arm(&c.reader);
    if (dm_ring_write_seq(&c.ring) != c.cursor.next) {
      dm_reader_disarm(&c.reader);
      continue;
    }
    slept++;
    if (poll(&fd, 1, 2000) == 0 && dm_ring_write_seq(&c.ring) != c.cursor.next) lost++;
    char bytes[64];
    while (read(c.reader.bell, bytes, sizeof bytes) > 0) {}
  }
  stop(producer);
  c.unreported += lost;
  return report("wake", &c, slept);
}

static int crash(const char *dir, uint64_t kills) {
  check c;
  pid_t producer = start_producer(dir, 4096, 0, 0, 0);
  open_check(&c, dir);
  for (uint64_t k = 0; k < kills && !is_bad(&c); k++) {
    uint64_t end = now_ns() + mix(k) % 3000000;
    while (now_ns() < end) poll_check(&c);
    stop(producer);
    if (dm_producer_alive(c.fd)) c.unreported++;
    while (poll_check(&c) != DM_POLL_EMPTY) {}
    for (uint32_t s = 0; s < SYMBOLS; s += 7) snapshot_check(&c, s, 1);
    uint64_t before = dm_ring_write_seq(&c.ring), epoch = dm_load_acquire(&c.ring.header->epoch);
    producer = start_producer(dir, 4096, 0, 0, 0);
    /* Wait for the next generation, then look at every instrument while it is young. */
    for (int i = 0; i < 5000 && dm_load_acquire(&c.ring.header->epoch) == epoch; i++) usleep(200);
    if (dm_load_acquire(&c.ring.header->epoch) != epoch + 1) c.unreported++;
    if (dm_ring_epoch_start(&c.ring, epoch + 1) != (int64_t)before) c.unreported++;
    for (uint32_t s = k % 3; s < SYMBOLS; s += 3) snapshot_check(&c, s, 0);
    if (!dm_is_current(c.dirfd, "t", c.fd)) c.unreported++;
  }
  stop(producer);
  return report("crash", &c, kills);
}

static int readers(const char *dir, uint64_t kills) {
  pid_t producer = start_producer(dir, 4096, 0, 0, 0);
  check c;
  open_check(&c, dir);
  for (uint64_t k = 0; k < kills; k++) {
    pid_t child = fork_child();
    if (child == 0) {
      check mine;
      open_check(&mine, dir);
      struct pollfd fd = {.fd = mine.reader.bell, .events = POLLIN};
      for (;;) {
        if (poll_check(&mine) != DM_POLL_EMPTY) continue;
        dm_reader_arm(&mine.reader);
        if (dm_ring_write_seq(&mine.ring) == mine.cursor.next) poll(&fd, 1, 1);
      }
    }
    uint64_t end = now_ns() + mix(k) % 3000000;
    while (now_ns() < end) poll_check(&c);
    stop(child);
  }
  dm_row_info rows[DM_MAX_READERS];
  int listed = dm_list_readers(c.dirfd, "t", geteuid(), rows, DM_MAX_READERS), alive = 0;
  for (int i = 0; i < listed; i++) alive += rows[i].alive;
  if (alive != 1 || listed > 3) c.unreported++;
  stop(producer);
  return report("readers", &c, kills);
}

static int stops(const char *dir, uint64_t count) {
  check c;
  pid_t producer = start_producer(dir, 1024, 16, 0, 0);
  open_check(&c, dir);
  for (uint64_t k = 0; k < count && !is_bad(&c); k++) {
    uint64_t end = now_ns() + mix(k) % 1000000;
    while (now_ns() < end) poll_check(&c);
    int status;
    kill(producer, SIGSTOP);
    if (waitpid(producer, &status, WUNTRACED) != producer || !WIFSTOPPED(status)) die("not stopped", status);
    /* What is committed comes, however the record after it was left; then there is nothing, and the lease is still held. */
    for (int i = 0; i < 100 && poll_check(&c) != DM_POLL_EMPTY; i++) {}
    if (poll_check(&c) != DM_POLL_EMPTY || c.cursor.next != dm_ring_write_seq(&c.ring)) c.unreported++;
    if (!dm_producer_alive(c.fd)) c.unreported++;
    for (uint32_t s = 0; s < SYMBOLS; s += 5) snapshot_check(&c, s, 0);
    kill(producer, SIGCONT);
  }
  stop(producer);
  return report("stops", &c, count);
}

/* ------------------------------------------------------------------------------------------------ hostile files */

static void read_everything(const dm_ring *r) {
  static dm_quote out[64 + 4];
  dm_cursor c = {.scan_limit = 64};
  uint64_t filter[1024] = {0x5555555555555555ull};
  c.filter = mix((uint64_t)r->capacity) & 1 ? filter : NULL;
  c.next = dm_ring_oldest(r);
  for (int i = 0; i < 64; i++) {
    uint32_t count;
    if (dm_ring_poll(r, &c, out, 64, &count) < 0) break;
  }
  for (uint32_t i = 0; i < 300; i++) {
    dm_dict_entry e;
    int complete;
    (void)dm_ring_entry(r, i, &e);
    (void)dm_ring_last(r, i, mix(i), out, 64, &complete);
  }
  (void)dm_ring_seek_time(r, mix(7));
  for (uint64_t e = 0; e < 40; e++) (void)dm_ring_epoch_start(r, mix(e));
  for (uint64_t i = 0; i < 40; i++) {
    uint64_t edge, seq = i < 20 ? i * 25 : mix(i) >> 1;
    (void)dm_ring_replay_at(r, seq, &edge);
    if (edge <= seq) die("a stretch of replay that ends before it begins", (int)i);
  }
}

/* Flips bytes of a good segment, in memory of exactly its size so that the sanitizer sees every step outside. */
static int fuzz(uint64_t seed, uint64_t rounds) {
  char dir[] = "/dev/shm/dm-fuzz-XXXXXX", command[64];
  if (!mkdtemp(dir)) die("mkdtemp", 0);
  produce(dir, 64, 7, 500, 0);
  int dirfd = dm_directory_open(dir, geteuid(), 0, 0), fd = openat(dirfd, "t.ring", O_RDONLY);
  struct stat st;
  fstat(fd, &st);
  size_t size = (size_t)st.st_size;
  uint8_t *good = malloc(size), *bad = aligned_alloc(4096, size);
  if (pread(fd, good, size, 0) != (ssize_t)size) die("read", 0);
  dm_header *stretches = (dm_header *)(void *)good;
  for (uint64_t n = stretches->replay_count = 3; n > 0; n--)
    stretches->replays[n] = (dm_replay){.number = n, .first_seq = 100 * n, .end_seq = 100 * n + 50, .cause = 1};
  uint64_t accepted = 0;
  for (uint64_t i = 0; i < rounds; i++) {
    memcpy(bad, good, size);
    uint64_t h = mix(seed + i * 977);
    for (uint64_t n = 1 + h % 12; n > 0; n--) {
      h = mix(h + n);
      /* Half of the damage goes to the header, where it hurts most. */
      size_t at = h & 1 ? (h >> 8) % 2048 : (h >> 8) % size;
      uint64_t value = mix(h);
      size_t width = (size_t)1 << (value % 4);
      if (at + width > size) width = 1;
      if (value & 16) memset(bad + at, value & 32 ? 0xff : 0, width);
      else memcpy(bad + at, &value, width);
    }
    if (mix(h) & 1) {
      dm_header *header = (dm_header *)(void *)bad;
      header->header_crc = dm_header_crc(header); /* an attacker can compute it, too */
    }
    size_t length = mix(h + 1) % 8 ? size : (size_t)(mix(h + 2) % size);
    dm_ring ring;
    if (dm_ring_check(&ring, bad, length) != DM_OK) continue;
    accepted++;
    read_everything(&ring);
  }
  /* Control files and whole segments as a producer and a reader find them. */
  for (uint64_t i = 0; i < rounds / 200 + 5; i++) {
    const char *name = i % 2 ? "t.ctl" : "t.ring";
    int target = openat(dirfd, name, O_RDWR);
    for (int n = 0; n < 40; n++) {
      uint64_t h = mix(seed + i * 131 + (uint64_t)n);
      off_t at = (off_t)(h % (i % 2 ? DM_CTL_BYTES : size));
      if (pwrite(target, &h, 8, at) != 8) break;
    }
    if (i % 5 == 4 && ftruncate(target, (off_t)(mix(i) % size)) != 0) die("truncate", 0);
    close(target);
    dm_producer p;
    dm_reader reader;
    dm_options o = {.capacity = 64, .record_schema = DM_SCHEMA_TRADES, .dict_cap = 256, .time_interval = 64, .block_us = 100};
    int attached = dm_reader_attach(&reader, dirfd, "t", geteuid(), "fuzz", 0, 1);
    int result = dm_producer_open(&p, dup(dirfd), "t", &o);
    if (result == DM_OK) {
      for (uint32_t s = 0; s < SYMBOLS; s++) dm_dict_bind(&p, 0, s, s % (p.dict_count ? p.dict_count : 1));
      dm_publisher_bind(&p, 0, 0);
      fill(&tape_memory, 0, 100, 1);
      dm_trade_columns c = columns_of(&tape_memory);
      uint32_t misses[8];
      if (dm_resolve(&p, 0, c.instrument, c.publisher, 100, misses, 8) == 0) dm_publish_trades(&p, &c, 100);
      dm_producer_close(&p);
    }
    if (attached == DM_OK) dm_reader_detach(&reader);
    dm_row_info rows[DM_MAX_READERS];
    (void)dm_list_readers(dirfd, "t", geteuid(), rows, DM_MAX_READERS);
  }
  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (system(command) != 0) die("rm", 0);
  free(good);
  free(bad);
  printf("{\"mode\":\"fuzz\",\"rounds\":%" PRIu64 ",\"accepted\":%" PRIu64 "}\n", rounds, accepted);
  return 0;
}

/* ------------------------------------------------------------------------------------------------ golden segments */

/* Everything that differs from run to run gets a fixed value; the header explains itself by the same CRC. */
static void pin(dm_producer *p) {
  dm_header *h = p->header;
  for (uint8_t i = 0; i < 16; i++) {
    h->segment_uuid[i] = i;
    h->boot_id[i] = (uint8_t)(0xf0 + i);
  }
  h->heartbeat_ns = 1000000001;
  h->wall_ns = 1700000000000000001;
  h->start_time = 1700000000000000000;
  h->producer_pid = 4242;
  h->header_crc = dm_header_crc(h);
  for (uint32_t i = 0; i < p->ring.time_cap; i++) {
    dm_time_entry *e = (dm_time_entry *)(uintptr_t)&p->ring.times[i];
    if (e->stamp) e->publish_ns = 1700000000000000000 + e->stamp;
  }
}

/* Ends without the heartbeat of an orderly end. */
static void seal(dm_producer *p) {
  pin(p);
  p->header->state = DM_CLOSED;
  munmap(p->base, p->ring.bytes);
  p->base = NULL;
  dm_producer_close(p);
}

static void golden_open(dm_producer *p, const char *dir, const char *name, uint32_t schema) {
  dm_options o = {.capacity = 16, .record_schema = schema, .dict_cap = 8, .time_interval = 4};
  int dirfd = dm_directory_open(dir, geteuid(), 1, 0);
  int result = dm_producer_open(p, dirfd, name, &o);
  if (result != DM_OK) die("golden", result);
  const char *symbols[] = {"GLBX.MDP3:ESM6", "GLBX.MDP3:NQM6", "GLBX.MDP3:GLBX"};
  for (uint32_t s = 0; s < 3; s++) {
    dm_entry_text t = {.native_id = 100 + s, .type = s == 2 ? DM_ENTRY_PUBLISHER : DM_ENTRY_INSTRUMENT, .price_scale = 2,
                       .size_scale = 0, .asset_class = s == 2 ? 0 : 2, .publisher = s == 2 ? 1 : 0, .symbol = symbols[s],
                       .symbol_length = 14, .provider = "databento", .provider_length = 9, .exchange = s == 2 ? "" : "XCME",
                       .exchange_length = s == 2 ? 0 : 4, .dataset_length = 9};
    dm_dict_add(p, &t);
    if (s < 2) dm_dict_bind(p, 0, s, s);
  }
  dm_publisher_bind(p, 0, 1);
}

static int golden(const char *dir) {
  dm_producer p;
  golden_open(&p, dir, "golden", DM_SCHEMA_TRADES);
  for (uint32_t b = 0; b < 5; b++) { /* 20 trades: the first four are overwritten */
    tape *t = &tape_memory;
    for (uint32_t i = 0; i < 4; i++) {
      int64_t n = b * 4 + i;
      t->key[i] = n;
      t->price[i] = n == 19 ? INT64_MAX : 5000000000000 + n * 250000000;
      t->size[i] = n + 1;
      t->event[i] = 1700000000000000000 + n;
      t->recv[i] = n == 18 ? INT64_MAX : 1700000000000001000 + n;
      t->delta[i] = n == 17 ? INT32_MIN : (int32_t)(n - 5);
      t->instrument[i] = n % 3 == 0;
      t->publisher[i] = 1;
      t->pexp[i] = -9;
      t->sexp[i] = 0;
      t->side[i] = (uint8_t)(n % 3);
      t->flags[i] = (uint8_t)(128 + n);
      t->depth[i] = (uint8_t)n;
    }
    publish(&p, t, 4);
  }
  dm_producer_durable(&p, 12);
  seal(&p);

  golden_open(&p, dir, "golden_quotes", DM_SCHEMA_QUOTES);
  int64_t i64[9][4];
  uint32_t bid_count[4], ask_count[4], instrument[4];
  int32_t delta[4];
  uint16_t publisher[4], bid_publisher[4], ask_publisher[4];
  int8_t pexp[4], sexp[4];
  uint8_t schema[4], side[4], action[4], flags[4], depth[4];
  for (uint32_t i = 0; i < 4; i++) {
    for (uint32_t k = 0; k < 9; k++) i64[k][i] = (int64_t)(k * 1000 + i);
    bid_count[i] = 10 + i;
    ask_count[i] = i == 3 ? UINT32_MAX : 20 + i;
    instrument[i] = i & 1;
    delta[i] = -(int32_t)i;
    publisher[i] = 1;
    bid_publisher[i] = (uint16_t)(30 + i);
    ask_publisher[i] = 65535;
    pexp[i] = -9;
    sexp[i] = 0;
    schema[i] = 10;
    side[i] = (uint8_t)(i % 3);
    action[i] = 'A';
    flags[i] = (uint8_t)(200 + i);
    depth[i] = (uint8_t)i;
  }
  dm_quote_columns q = {i64[0], i64[1], i64[2], i64[3], i64[4], i64[5], i64[6], i64[7], i64[8], bid_count, ask_count, instrument,
                        delta, publisher, bid_publisher, ask_publisher, pexp, sexp, schema, side, action, flags, depth};
  uint32_t misses[4];
  if (dm_resolve(&p, 0, instrument, publisher, 4, misses, 4) != 0) die("resolve", 0);
  dm_producer_replay(&p, 1700000000000000000, 1700000060000000000, 2500, DM_REPLAY_WINDOW);
  dm_publish_quotes(&p, &q, 4);
  dm_producer_replay_end(&p);
  seal(&p);
  return 0;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  const char *dir = argc > 2 ? argv[2] : "";
  uint64_t a = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, b = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
  uint32_t batch = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(mode, "stress")) return stress(dir, strtod(argv[3], NULL), b, batch);
  if (!strcmp(mode, "follow")) return follow(dir, a, b, batch);
  if (!strcmp(mode, "wake")) return wake(dir, a);
  if (!strcmp(mode, "crash")) return crash(dir, a);
  if (!strcmp(mode, "readers")) return readers(dir, a);
  if (!strcmp(mode, "stops")) return stops(dir, a);
  if (!strcmp(mode, "fuzz")) return fuzz(strtoull(dir, NULL, 10), a);
  if (!strcmp(mode, "golden")) return golden(dir);
  fprintf(stderr, "usage: see the head of ring_test.c\n");
  return 2;
}
