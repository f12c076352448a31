/*
 * Prints trades from a ring, from the oldest on: all that a reader in C needs is dm_ring.h.
 *
 *   cc -std=c11 -O2 -I include -o tail example/tail.c && ./tail /dev/shm/data-manager-1000 dm-main [COUNT]
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "dm_ring.h"

static void print_trade(const dm_ring *ring, const dm_trade *t) {
  dm_dict_entry e;
  int known = dm_ring_entry(ring, t->tail.instrument, &e) == DM_OK;
  printf("%" PRIu64 " %.*s %" PRId64 "e%d x %" PRId64 "e%d\n", t->stamp - 1, known ? e.symbol_length : 1, known ? e.text : "?",
         t->price, t->tail.price_exponent, t->size, t->tail.size_exponent);
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: tail DIRECTORY NAME [COUNT]\n"), 2;
  char file[128];
  snprintf(file, sizeof file, "%s.ring", argv[2]);
  int dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
  dm_ring ring;
  int result = dm_ring_map(dirfd, file, geteuid(), &ring, &fd);
  if (result != DM_OK) return fprintf(stderr, "%s: error %d\n", file, result), 1;
  if (ring.record_schema != DM_SCHEMA_TRADES) return fprintf(stderr, "%s holds quotes\n", file), 1;

  static dm_trade rows[256 + 4];
  dm_cursor cursor = {.next = dm_ring_oldest(&ring)};
  long left = argc > 3 ? atol(argv[3]) : -1;
  while (left != 0) {
    uint32_t count;
    int status = dm_ring_poll(&ring, &cursor, rows, 256, &count);
    if (status < 0) return fprintf(stderr, "poll: error %d\n", status), 1;
    if (status == DM_POLL_GAP) printf("lost [%" PRIu64 ", %" PRIu64 ")\n", cursor.gap_from, cursor.gap_to);
    for (uint32_t i = 0; i < count && left != 0; i++) {
      if ((rows[i].tail.kind & 15) != DM_KIND_ROW) continue;
      print_trade(&ring, &rows[i]);
      left -= left > 0;
    }
    if (status == DM_POLL_EMPTY) nanosleep(&(struct timespec){0, 1000000}, NULL);
  }
  dm_ring_unmap(&ring, fd);
  return 0;
}
