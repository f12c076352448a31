/*
 * The C twin of the Node benchmarks: the same ABI and the same functions, without Node.
 *   ring_bench publish DIR ROWS BATCH    columns -> ring: ns per row
 *   ring_bench poll DIR ROWS BATCH       ring -> rows, after publishing as many as fit: ns per row
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "../src/ring.h"

#define SYMBOLS 64u
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

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  uint64_t rows = strtoull(argv[3], NULL, 10);
  uint32_t batch = (uint32_t)strtoul(argv[4], NULL, 10), misses[4];
  dm_options o = {.capacity = 1 << 16, .record_schema = DM_SCHEMA_TRADES, .dict_cap = 256, .time_interval = 4096};
  dm_producer p;
  int result = dm_producer_open(&p, dm_directory_open(argv[2], geteuid(), 1, 0), "c", &o);
  if (result != DM_OK) return fprintf(stderr, "open: %d\n", result), 1;
  for (uint32_t s = p.dict_count; s < SYMBOLS; s++) {
    char symbol[16];
    dm_entry_text t = {.native_id = s, .type = DM_ENTRY_INSTRUMENT, .symbol = symbol, .provider = "x", .provider_length = 1,
                       .exchange = "", .dataset_length = 1};
    t.symbol_length = (uint32_t)snprintf(symbol, sizeof symbol, "B:%u", s);
    dm_dict_add(&p, &t);
  }
  for (uint32_t s = 0; s < SYMBOLS; s++) dm_dict_bind(&p, 0, s, s);
  dm_publisher_bind(&p, 0, 0);
  for (uint32_t i = 0; i < 8192; i++) {
    instrument[i] = i * 7 % SYMBOLS;
    for (int k = 0; k < 5; k++) i64[k][i] = i * 1000 + k;
  }
  dm_trade_columns c = {i64[0], i64[1], i64[2], i64[3], i64[4], instrument, delta, publisher, i8[0], i8[1], u8[0], u8[1], u8[2], NULL, NULL};
  int polling = argv[1][1] == 'o';
  double spent = 0;
  uint64_t done = 0, sum = 0;
  dm_cursor cursor = {.next = p.write_seq};
  while (done < rows) {
    double start = now();
    uint32_t chunk = 0;
    for (; chunk < 32768; chunk += batch) {
      dm_resolve(&p, 0, instrument, publisher, batch, misses, 4);
      dm_publish_trades(&p, &c, batch);
    }
    if (polling) start = now();
    uint32_t count;
    while (polling && dm_ring_poll(&p.ring, &cursor, rows_out, batch < 4 ? 4 : batch, &count) == DM_POLL_ROWS)
      for (uint32_t i = 0; i < count; i++) sum += (uint64_t)rows_out[i].price + (uint64_t)rows_out[i].size;
    spent += now() - start;
    done += chunk;
  }
  printf("%.3f %llu\n", spent / (double)done, (unsigned long long)(sum & 1));
  dm_producer_close(&p);
  return 0;
}
