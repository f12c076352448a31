/*
 * The C twin of the Node benchmarks: the same ABI and the same functions, without Node.
 *   ring_bench publish DIR ROWS BATCH             columns -> ring: ns per row
 *   ring_bench poll DIR ROWS BATCH                ring -> rows, after publishing as many as fit: ns per row
 *   ring_bench filter DIR ROWS BATCH              the same with 10 of 20,000 symbols wanted: ns per record
 *   ring_bench flow DIR MILLISECONDS BATCH READERS   processes: rows per second of each reader, mean
 *   ring_bench send DIR NAME MICROSECONDS         a record every so often, for ever, stamped with the clock before it is published
 *   ring_bench spin DIR NAME SAMPLES              how long such records take to a process that never sleeps: p50 and p99, us
 *   ring_bench park DIR NAME SAMPLES              the same to a process that sleeps on its bell
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include "../src/ring.h"

#define MAX_SYMBOLS 20000u
#define TAPES 64u
#define ROW_BYTES 55u
static uint32_t symbols = 64;
static uint8_t *tape[TAPES];
static dm_trade rows_out[8192 + 4];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double wall(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Batches laid out as Node's are: the columns one after another in one piece of memory. Columns at distances that are powers
   of two would compete for the same lines of the cache. */
static dm_trade_columns columns(const uint8_t *at, uint32_t batch) {
  const size_t room = (batch + 7) & ~7u;
#define COLUMN(type, offset) (const type *)(const void *)(at + (offset) * room)
  return (dm_trade_columns){COLUMN(int64_t, 0), COLUMN(int64_t, 8), COLUMN(int64_t, 16), COLUMN(int64_t, 24), COLUMN(int64_t, 32),
                            COLUMN(uint32_t, 40), COLUMN(int32_t, 44), COLUMN(uint16_t, 48), COLUMN(int8_t, 50), COLUMN(int8_t, 51),
                            COLUMN(uint8_t, 52), COLUMN(uint8_t, 53), COLUMN(uint8_t, 54), NULL, NULL};
}

static void make_tapes(uint32_t batch) {
  const size_t room = (batch + 7) & ~7u;
  for (uint32_t k = 0; k < TAPES; k++) {
    tape[k] = calloc(room, ROW_BYTES);
    if (!tape[k]) exit(1);
    int64_t *key = (int64_t *)(void *)(tape[k] + 16 * room), *price = (int64_t *)(void *)(tape[k] + 24 * room);
    uint32_t *instrument = (uint32_t *)(void *)(tape[k] + 40 * room);
    for (uint32_t i = 0; i < batch; i++) {
      key[i] = k * batch + i;
      price[i] = key[i] * 1000;
      instrument[i] = (k * batch + i) * 7 % symbols;
    }
  }
}

static void open_producer(dm_producer *p, const char *dir, const char *name, uint64_t capacity) {
  dm_options o = {.capacity = capacity, .record_schema = DM_SCHEMA_TRADES, .dict_cap = 32768, .time_interval = 4096};
  int result = dm_producer_open(p, dm_directory_open(dir, geteuid(), 1, 0), name, &o);
  if (result != DM_OK) exit(fprintf(stderr, "open: %d\n", result));
  for (uint32_t s = p->dict_count; s < symbols; s++) {
    char symbol[16];
    dm_entry_text t = {.native_id = s, .type = DM_ENTRY_INSTRUMENT, .symbol = symbol, .provider = "x", .provider_length = 1,
                       .exchange = "", .dataset_length = 1};
    t.symbol_length = (uint32_t)snprintf(symbol, sizeof symbol, "B:%u", s);
    dm_dict_add(p, &t);
  }
  for (uint32_t s = 0; s < symbols; s++) dm_dict_bind(p, 0, s, s);
  dm_publisher_bind(p, 0, 0);
}

static void publish(dm_producer *p, uint32_t k, uint32_t batch) {
  uint32_t misses[4];
  dm_trade_columns c = columns(tape[k % TAPES], batch);
  dm_resolve(p, 0, c.instrument, c.publisher, batch, misses, 4);
  dm_publish_trades(p, &c, batch);
}

/* One process: publishes what fits, then polls it; the time of one of the two counts. */
static int alone(const char *mode, const char *dir, uint64_t rows, uint32_t batch) {
  static uint64_t wanted[DM_DICT_MAX / 64 + 1];
  int polling = mode[0] != 'p' || mode[1] == 'o', filtering = mode[0] == 'f';
  if (filtering) symbols = MAX_SYMBOLS;
  dm_producer p;
  open_producer(&p, dir, filtering ? "cf" : "c", 1 << 16);
  make_tapes(batch);
  double spent = 0;
  uint64_t done = 0, sum = 0;
  dm_cursor cursor = {.next = p.write_seq, .filter = filtering ? wanted : NULL};
  for (uint32_t k = 0; k < 10; k++) wanted[k * 1999 / 64] |= 1ull << (k * 1999 % 64);
  while (done < rows) {
    double start = now();
    uint32_t chunk = 0;
    for (; chunk < 32768; chunk += batch) publish(&p, chunk / batch, batch);
    if (polling) start = now();
    uint32_t count;
    for (int status = DM_POLL_ROWS; polling && status != DM_POLL_EMPTY;) {
      status = dm_ring_poll(&p.ring, &cursor, rows_out, batch < 4 ? 4 : batch, &count);
      for (uint32_t i = 0; i < count; i++) sum += (uint64_t)rows_out[i].price + (uint64_t)rows_out[i].size;
    }
    spent += now() - start;
    done += chunk;
  }
  printf("%.3f %llu\n", spent / (double)done, (unsigned long long)(sum & 1));
  dm_producer_close(&p);
  return 0;
}

static double read_for(const char *dir, double millis) {
  dm_ring ring;
  int fd, dirfd = dm_directory_open(dir, geteuid(), 0, 0);
  if (dm_ring_map(dirfd, "cx.ring", geteuid(), &ring, &fd) != DM_OK) return 0;
  dm_cursor cursor = {.next = dm_ring_write_seq(&ring)};
  uint64_t rows = 0;
  uint32_t count, polls = 0;
  double start = wall(), end = start + millis * 1e6;
  do {
    dm_ring_poll(&ring, &cursor, rows_out, 4096, &count);
    rows += count;
  } while ((++polls & 63) || wall() < end);
  return (double)rows / (wall() - start) * 1e9;
}

/* Processes as in the Node benchmark: one publishes without pause, the others read for a while. */
static int flow(const char *dir, double millis, uint32_t batch, int readers) {
  dm_producer p;
  open_producer(&p, dir, "cx", 1 << 20);
  make_tapes(batch);
  pid_t producer = fork();
  if (producer == 0) prctl(PR_SET_PDEATHSIG, SIGKILL); /* it would run for ever */
  for (uint32_t k = 0; producer == 0; k++) publish(&p, k, batch);
  int results[2];
  if (pipe(results) != 0) return 1;
  for (int r = 0; r < readers; r++) {
    if (fork() != 0) continue;
    double rate = read_for(dir, millis);
    _exit(write(results[1], &rate, sizeof rate) == sizeof rate ? 0 : 1);
  }
  double sum = 0, rate;
  for (int r = 0; r < readers && read(results[0], &rate, sizeof rate) == sizeof rate; r++) sum += rate;
  kill(producer, SIGKILL);
  while (wait(NULL) > 0) {}
  printf("%.0f\n", sum / readers);
  dm_producer_close(&p);
  return 0;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static _Noreturn void send_records(const char *dir, const char *name, double micros) {
  dm_producer p;
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* it would run for ever */
  open_producer(&p, dir, name, 1 << 16);
  make_tapes(1);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    usleep((useconds_t)micros);
    int64_t stamp = (int64_t)wall();
    memcpy(tape[0], &stamp, sizeof stamp); /* ts_event */
    publish(&p, 0, 1);
  }
}

/* From the moment before a record is published to the moment when the reader has it. */
static int latency(const char *dir, const char *name, int park, uint32_t samples) {
  enum { FIRST = 200 };
  dm_ring ring;
  dm_reader reader;
  char file[DM_NAME_MAX + 8];
  int fd, dirfd = dm_directory_open(dir, geteuid(), 0, 0);
  snprintf(file, sizeof file, "%s.ring", name);
  if (dm_ring_map(dirfd, file, geteuid(), &ring, &fd) != DM_OK) return 1;
  if (dm_reader_attach(&reader, dirfd, name, geteuid(), "bench", park ? 0 : 2, 0) != DM_OK) return 1;
  dm_cursor cursor = {.next = dm_ring_write_seq(&ring)};
  struct pollfd bell = {.fd = reader.bell, .events = POLLIN};
  double *delays = calloc(samples + FIRST, sizeof *delays);
  for (uint32_t n = 0, count; delays && n < samples + FIRST;) {
    if (dm_ring_poll(&ring, &cursor, rows_out, 4, &count) == DM_POLL_ROWS) {
      delays[n++] = (wall() - (double)rows_out[0].ts_event) / 1e3;
      continue;
    }
    if (!park) continue;
    dm_reader_arm(&reader);
    if (dm_ring_write_seq(&ring) == cursor.next) poll(&bell, 1, 100);
    char bytes[64];
    while (read(reader.bell, bytes, sizeof bytes) > 0) {}
  }
  if (!delays) return 1;
  qsort(delays + FIRST, samples, sizeof *delays, ascending);
  printf("%.2f %.2f\n", delays[FIRST + samples / 2], delays[FIRST + samples * 99 / 100]);
  free(delays);
  dm_reader_detach(&reader);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  uint32_t batch = (uint32_t)strtoul(argv[4], NULL, 10);
  int park = !strcmp(argv[1], "park");
  if (park || !strcmp(argv[1], "spin")) return latency(argv[2], argv[3], park, batch);
  if (!strcmp(argv[1], "send")) send_records(argv[2], argv[3], strtod(argv[4], NULL));
  if (argc > 5) return flow(argv[2], strtod(argv[3], NULL), batch, atoi(argv[5]));
  return alone(argv[1], argv[2], strtoull(argv[3], NULL, 10), batch);
}
