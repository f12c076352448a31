/*
 * The C twin of the Node benchmarks: the same ABI and the same functions, without Node.
 *   ring_bench publish DIR ROWS BATCH             columns -> ring: ns per row
 *   ring_bench poll DIR ROWS BATCH                ring -> rows, after publishing as many as fit: ns per row
 *   ring_bench filter DIR ROWS BATCH              the same with 10 of 20,000 symbols wanted: ns per record
 *   ring_bench flow DIR MILLISECONDS BATCH READERS   processes: rows per second of each reader, mean
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include "../src/ring.h"

#define MAX_SYMBOLS 20000u
static uint32_t symbols = 64;
static int64_t i64[5][8192];
static uint32_t instrument[8192];
static int32_t delta[8192];
static uint16_t publisher[8192];
static int8_t i8[2][8192];
static uint8_t u8[3][8192];
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

static dm_trade_columns columns(void) {
  return (dm_trade_columns){i64[0], i64[1], i64[2], i64[3], i64[4], instrument, delta, publisher, i8[0], i8[1], u8[0], u8[1], u8[2], NULL, NULL};
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
  for (uint32_t i = 0; i < 8192; i++) {
    instrument[i] = i * 7 % symbols;
    for (int k = 0; k < 5; k++) i64[k][i] = i * 1000 + k;
  }
}

static void publish(dm_producer *p, uint32_t at, uint32_t batch) {
  uint32_t misses[4];
  dm_trade_columns c = columns();
  c.instrument += at;
  dm_resolve(p, 0, c.instrument, publisher, batch, misses, 4);
  dm_publish_trades(p, &c, batch);
}

/* One process: publishes what fits, then polls it; the time of one of the two counts. */
static int alone(const char *mode, const char *dir, uint64_t rows, uint32_t batch) {
  static uint64_t wanted[DM_DICT_MAX / 64 + 1];
  int polling = mode[0] != 'p' || mode[1] == 'o', filtering = mode[0] == 'f';
  if (filtering) symbols = MAX_SYMBOLS;
  dm_producer p;
  open_producer(&p, dir, filtering ? "cf" : "c", 1 << 16);
  double spent = 0;
  uint64_t done = 0, sum = 0;
  dm_cursor cursor = {.next = p.write_seq, .filter = filtering ? wanted : NULL};
  for (uint32_t k = 0; k < 10; k++) wanted[k * 1999 / 64] |= 1ull << (k * 1999 % 64);
  while (done < rows) {
    double start = now();
    uint32_t chunk = 0;
    for (; chunk < 32768; chunk += batch) publish(&p, batch <= 4096 ? chunk % 4096 : 0, batch);
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
  pid_t producer = fork();
  if (producer == 0) prctl(PR_SET_PDEATHSIG, SIGKILL); /* it would run for ever */
  for (uint32_t k = 0; producer == 0; k++) publish(&p, k * batch % 4096, batch);
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

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  uint32_t batch = (uint32_t)strtoul(argv[4], NULL, 10);
  if (argc > 5) return flow(argv[2], strtod(argv[3], NULL), batch, atoi(argv[5]));
  return alone(argv[1], argv[2], strtoull(argv[3], NULL, 10), batch);
}
