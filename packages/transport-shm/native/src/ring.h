/* Producer, reader rows and care of the files. The layout and the reader are in dm_ring.h; no Node in here. */
#ifndef DM_RING_INTERNAL_H
#define DM_RING_INTERNAL_H

#include "../include/dm_ring.h"

#define DM_NAME_MAX 64u

typedef struct dm_options {
  uint64_t capacity;       /* rounded up to a power of two */
  uint32_t record_schema;
  uint32_t dict_cap;
  uint32_t time_interval;  /* records between two entries of the time index */
  uint32_t block_us;       /* longest wait per publish for readers that ask for it; 0: never */
  uint32_t group;          /* 1: members of the group of the directory may read */
} dm_options;

typedef struct dm_producer {
  dm_ring ring;
  uint8_t *base;
  dm_header *header;
  int dirfd, fd, ctl_fd;
  dm_ctl_header *ctl;
  char name[DM_NAME_MAX + 1];
  dm_options options;
  uint64_t write_seq, epoch;
  uint32_t dict_count;
  int bells[DM_MAX_READERS];
  uint64_t time_count, time_seq, time_ns;
  uint64_t wakes, demotions;
  int taken_over;           /* this generation continues the memory of an earlier one */
  uint64_t repaired;        /* last_seq entries that pointed at uncommitted records */
  /* (context, native id) -> dictionary index: open addressing, 0 = free, else index + 1 */
  uint64_t *map_keys;
  uint32_t *map_values;
  uint32_t map_cap, map_size;
  uint64_t *publishers;     /* context x 65,536 bits: publisher named */
  uint32_t publisher_contexts;
  uint16_t *resolved;       /* dictionary index of each row of the batch at hand */
  uint32_t resolved_cap;
} dm_producer;

/* Columns of a batch, as in core's TradeLayout and QuoteLayout. */
typedef struct dm_trade_columns {
  const int64_t *ts_event, *ts_recv, *trade_key, *price, *size;
  const uint32_t *instrument;
  const int32_t *ts_in_delta;
  const uint16_t *publisher;
  const int8_t *price_exponent, *size_exponent;
  const uint8_t *side, *flags, *depth;
  const uint8_t *text;        /* NULL: no text ids; else their bytes one after another */
  const uint8_t *text_length; /* bytes of each row's id, at most 120 */
} dm_trade_columns;

typedef struct dm_quote_columns {
  const int64_t *ts_event, *ts_recv, *quote_key, *bid_price, *ask_price, *price, *bid_size, *ask_size, *size;
  const uint32_t *bid_count, *ask_count, *instrument;
  const int32_t *ts_in_delta;
  const uint16_t *publisher, *bid_publisher, *ask_publisher;
  const int8_t *price_exponent, *size_exponent;
  const uint8_t *schema, *side, *action, *flags, *depth;
} dm_quote_columns;

typedef struct dm_entry_text {
  uint32_t native_id;
  uint8_t type, key_kind, price_scale, size_scale, asset_class;
  uint16_t context, publisher;
  const char *symbol, *provider, *exchange;
  uint32_t symbol_length, provider_length, exchange_length, dataset_length;
} dm_entry_text;

int dm_directory_open(const char *dir, uint32_t owner, int create, int group);

int dm_producer_open(dm_producer *p, int dirfd, const char *name, const dm_options *options);
int dm_producer_renew(dm_producer *p);
void dm_producer_close(dm_producer *p);
void dm_producer_heartbeat(dm_producer *p);
void dm_producer_durable(dm_producer *p, uint64_t seq);
/* Rows from here on are a replay, until the end is told or another begins. */
void dm_producer_replay(dm_producer *p, int64_t start, int64_t end, uint32_t speed_milli, uint32_t cause);
void dm_producer_replay_end(dm_producer *p);
uint32_t dm_producer_connections(dm_producer *p);

int dm_dict_add(dm_producer *p, const dm_entry_text *text);
int dm_dict_bind(dm_producer *p, uint32_t context, uint32_t native_id, uint32_t index);
int dm_publisher_bind(dm_producer *p, uint32_t context, uint32_t publisher);
/* Finds the dictionary index of every row. Returns how many rows (numbers in `misses`) have something unknown. */
int dm_resolve(dm_producer *p, uint32_t context, const uint32_t *instrument, const uint16_t *publisher, uint32_t rows,
               uint32_t *misses, uint32_t miss_cap);
/* Publish rows that dm_resolve has resolved. */
void dm_publish_trades(dm_producer *p, const dm_trade_columns *c, uint32_t rows);
void dm_publish_quotes(dm_producer *p, const dm_quote_columns *c, uint32_t rows);
void dm_publish_gap(dm_producer *p, const dm_gap_record *gap);

typedef struct dm_reader {
  int ctl_fd, bell;
  uint32_t row;
  uint64_t ctl_inode;
  dm_ctl_header *ctl;
  dm_reader_row *state;
} dm_reader;

int dm_reader_attach(dm_reader *a, int dirfd, const char *name, uint32_t owner, const char *client, uint32_t mode,
                     int blocking);
void dm_reader_detach(dm_reader *a);
void dm_reader_arm(dm_reader *a);
void dm_reader_disarm(dm_reader *a);
void dm_reader_report(dm_reader *a, const dm_cursor *c);
void dm_reader_heartbeat(dm_reader *a);

int dm_producer_alive(int ring_fd);
/* 1: the path still names this file; 0: another file or none. */
int dm_is_current(int dirfd, const char *name, int ring_fd);
int dm_boot_id(uint8_t out[16]);
uint64_t dm_clock_ns(int wall);

typedef struct dm_row_info { uint32_t row; int alive; dm_reader_row state; } dm_row_info;
/* Reader rows in use, at most `cap`; below zero on error. */
int dm_list_readers(int dirfd, const char *name, uint32_t owner, dm_row_info *out, uint32_t cap);
/* Why the files of a ring were kept, or went. */
typedef enum dm_cleaning {
  DM_KEPT_LIVE = 0,         /* a producer holds the lease */
  DM_KEPT_READERS = 1,      /* living readers wait for its next producer */
  DM_KEPT_YOUNG = 2,        /* its producer died a moment ago and may come back */
  DM_KEPT_FOREIGN = 3,      /* no ring at all: somebody else's file */
  DM_GONE_UNFINISHED = 16,  /* empty: the machine stopped before it was written */
  DM_GONE_DAMAGED = 17,     /* its header contradicts itself */
  DM_GONE_OTHER_BOOT = 18,  /* from before the last boot */
  DM_GONE_CLOSED = 19,
  DM_GONE_RETIRED = 20,
  DM_GONE_SILENT = 21       /* its producer died long ago */
} dm_cleaning;
/* Removes the files of a ring that nobody can need, or with `dry_run` only says so: dm_cleaning, or below zero on error. */
int dm_clean(int dirfd, const char *name, uint64_t older_than_ns, int dry_run);

#endif
