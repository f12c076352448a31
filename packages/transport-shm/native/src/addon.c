/*
 * Node-API binding of the ring: thin, no logic of its own.
 *
 * Every object returned here carries its native handle as the data pointer of its methods, which costs nothing to look
 * up. Numbers that a call answers with go through a *control block*: a Float64Array that JavaScript keeps and that is
 * referenced from here, so its memory can neither move nor go. Sequences are exact in it up to 2^53.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "ring.h"

#define CONTROL_WORDS 128
#define MAX_POLL 8192u
#define MAX_CONTEXTS 4096u
#define MAX_GROUPS 48u
#define MAX_COLUMNS 32u

/* ------------------------------------------------------------------------------------------------ errors, arguments */

static const char *error_code(int result) {
  switch (result) {
    case DM_E_MISSING: return "DM_MISSING";
    case DM_E_NOT_A_RING: return "DM_NOT_A_RING";
    case DM_E_VERSION: return "DM_VERSION";
    case DM_E_LAYOUT: return "DM_LAYOUT";
    case DM_E_OWNER: return "DM_OWNER";
    case DM_E_BUSY: return "DM_BUSY";
    case DM_E_NO_SPACE: return "DM_NO_SPACE";
    case DM_E_FULL: return "DM_FULL";
    case DM_E_ARGUMENT: return "DM_ARGUMENT";
    case DM_E_REWOUND: return "DM_REWOUND";
    case DM_E_UNSUPPORTED: return "DM_UNSUPPORTED";
    default: return "DM_SYSTEM";
  }
}

static napi_value fail(napi_env env, int result, const char *what) {
  char text[256];
  const char *code = result == DM_E_SYSTEM && (errno == EACCES || errno == EPERM) ? "DM_DENIED" : error_code(result);
  if (result == DM_E_SYSTEM) snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
  else snprintf(text, sizeof text, "%s", what);
  napi_throw_error(env, code, text);
  return NULL;
}

static void *arguments(napi_env env, napi_callback_info info, size_t count, napi_value *out) {
  void *data = NULL;
  size_t got = count;
  napi_get_cb_info(env, info, &got, out, NULL, &data);
  return data;
}

static uint32_t u32(napi_env env, napi_value v) { uint32_t x = 0; napi_get_value_uint32(env, v, &x); return x; }
static double f64(napi_env env, napi_value v) { double x = 0; napi_get_value_double(env, v, &x); return x; }
static uint64_t u64(napi_env env, napi_value v) {
  double x = f64(env, v);
  return x >= 0 && x < 18446744073709549568.0 ? (uint64_t)x : 0;
}
static size_t text(napi_env env, napi_value v, char *out, size_t cap) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, v, out, cap, &length) != napi_ok) length = 0;
  out[length] = 0;
  return length;
}
static napi_value number(napi_env env, double x) { napi_value v; napi_create_double(env, x, &v); return v; }
static napi_value integer(napi_env env, int32_t x) { napi_value v; napi_create_int32(env, x, &v); return v; }
static napi_value boolean(napi_env env, int x) { napi_value v; napi_get_boolean(env, x != 0, &v); return v; }
static napi_value string(napi_env env, const char *s, size_t n) { napi_value v; napi_create_string_utf8(env, s, n, &v); return v; }
static void set(napi_env env, napi_value o, const char *name, napi_value v) { napi_set_named_property(env, o, name, v); }
static void set_number(napi_env env, napi_value o, const char *name, double x) { set(env, o, name, number(env, x)); }
static void set_hex(napi_env env, napi_value o, const char *name, const uint8_t *bytes) {
  char hex[33];
  for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
  set(env, o, name, string(env, hex, 32));
}

/* Where the columns of a batch lie: bytes before each per row of room, then the bytes of a whole row. 0: not given so. */
static int column_offsets(napi_env env, napi_value from, uint32_t schema, uint32_t *out) {
  void *offsets = NULL;
  size_t count = 0, columns = schema == DM_SCHEMA_TRADES ? 13 : 23;
  napi_typedarray_type type = napi_uint8_array;
  if (napi_get_typedarray_info(env, from, &type, &count, &offsets, NULL, NULL) != napi_ok || type != napi_uint32_array ||
      count > MAX_COLUMNS || count <= columns)
    return 0;
  memcpy(out, offsets, count * 4);
  return 1;
}

/* ------------------------------------------------------------------------------------------------ handles */

typedef struct handle handle;
struct handle {
  uint32_t references;
  void (*close)(handle *);
};

static void release(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  handle *h = data;
  if (--h->references > 0) return;
  h->close(h);
  free(h);
}

/* A method that keeps its handle alive for as long as somebody holds the method. */
static void method(napi_env env, napi_value object, const char *name, napi_callback call, handle *h) {
  napi_value f;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, call, h, &f);
  h->references++;
  napi_add_finalizer(env, f, h, release, NULL, NULL);
  set(env, object, name, f);
}

static double *control_block(napi_env env, napi_value object, napi_ref *reference) {
  void *data = NULL;
  napi_value buffer, view, words;
  napi_create_arraybuffer(env, CONTROL_WORDS * 8, &data, &buffer);
  memset(data, 0, CONTROL_WORDS * 8);
  napi_create_typedarray(env, napi_float64_array, CONTROL_WORDS, buffer, 0, &view);
  napi_create_reference(env, buffer, 1, reference);
  napi_create_typedarray(env, napi_uint32_array, CONTROL_WORDS * 2, buffer, 0, &words);
  set(env, object, "control", view);
  set(env, object, "controlWords", words);
  return data;
}

/* ------------------------------------------------------------------------------------------------ producer */

typedef struct producer {
  handle base;
  dm_producer p;
  int open;
  uint32_t column_offset[MAX_COLUMNS]; /* bytes before the column, per row of room, then those of a whole row */
  double *control;
  napi_ref control_ref;
} producer;

/* Control block of a producer. The words from P_ROWS on are what JavaScript writes before it publishes: numbers there cost a
   tenth of what they cost as arguments. Columns lie at the byte offsets from P_FIRST_COLUMN on (32 bits each), or, where P_ROOM
   is not 0, where the layout puts them in a buffer that was made for so many rows. */
enum { P_WRITE_SEQ, P_EPOCH, P_WAKES, P_DEMOTIONS, P_DICT_COUNT, P_MISSING, P_ROWS = 6, P_CONTEXT, P_ROOM, P_FIRST_COLUMN = 12,
       P_FIRST_MISS = 40 };
#define MISS_CAP 80

static void producer_control(producer *x) {
  x->control[P_WRITE_SEQ] = (double)x->p.write_seq;
  x->control[P_EPOCH] = (double)x->p.epoch;
  x->control[P_WAKES] = (double)x->p.wakes;
  x->control[P_DEMOTIONS] = (double)x->p.demotions;
  x->control[P_DICT_COUNT] = (double)x->p.dict_count;
}

static void producer_close(handle *h) {
  producer *x = (producer *)h;
  if (x->open) dm_producer_close(&x->p);
  x->open = 0;
}

static producer *producer_of(napi_env env, void *data) {
  producer *x = data;
  if (x->open) return x;
  napi_throw_error(env, "DM_CLOSED", "the publication is closed");
  return NULL;
}

/* A batch that JavaScript described in the control block. */
typedef struct batch {
  const uint8_t *base;
  size_t bytes;
  uint32_t rows, context;
  uint64_t room; /* 0: every column has an offset of its own */
  int bad;
} batch;

/* A whole number from JavaScript; what is none, or does not fit, is 2^32 - 1, which fits no check. */
static uint32_t whole(double x) { return x >= 0 && x < 4294967295.0 ? (uint32_t)x : UINT32_MAX; }

static batch batch_of(napi_env env, const producer *x, napi_value buffer, uint32_t columns) {
  void *base = NULL;
  batch b = {.rows = whole(x->control[P_ROWS]), .context = whole(x->control[P_CONTEXT]), .room = whole(x->control[P_ROOM])};
  b.bad = napi_get_arraybuffer_info(env, buffer, &base, &b.bytes) != napi_ok;
  b.base = base;
  if (b.room) b.bad |= (b.room & 7) || b.rows > b.room || b.room * x->column_offset[columns] > b.bytes;
  return b;
}

/* Column `k` of a batch, within its buffer. */
static inline const void *column_at(const producer *x, batch *b, int k, size_t width) {
  if (b->room) return b->base + (b->bad ? 0 : b->room * x->column_offset[k]);
  uint64_t offset = ((const uint32_t *)(const void *)(x->control + P_FIRST_COLUMN))[k];
  b->bad |= offset + (uint64_t)width * b->rows > b->bytes || (offset & (width - 1));
  return b->base + offset;
}
#define COLUMN(k, type) (const type *)column_at(x, &b, k, sizeof(type))

/* Finds the rows' instruments; 1: publish. Else rows whose instrument or publisher is unknown stand in the control block. */
static int resolved(napi_env env, producer *x, const batch *b, const uint32_t *instrument, const uint16_t *publisher) {
  uint32_t misses[MISS_CAP];
  int missing = b->rows ? dm_resolve(&x->p, b->context, instrument, publisher, b->rows, misses, MISS_CAP) : 0;
  if (missing < 0) fail(env, missing, "publish");
  for (int i = 0; i < missing; i++) x->control[P_FIRST_MISS + i] = misses[i];
  x->control[P_MISSING] = missing;
  return missing == 0 && b->rows > 0;
}

/* publishTrades(buffer, textBytes?, textLengths?); how many rows miss something stands in the control block */
static napi_value publish_trades(napi_env env, napi_callback_info info) {
  napi_value a[3];
  void *data = NULL;
  size_t given = 3;
  napi_get_cb_info(env, info, &given, a, NULL, &data);
  producer *x = producer_of(env, data);
  if (!x) return NULL;
  if (x->p.ring.record_schema != DM_SCHEMA_TRADES || given == 0) return fail(env, DM_E_ARGUMENT, "publishTrades");
  batch b = batch_of(env, x, a[0], 13);
  dm_trade_columns c = {COLUMN(0, int64_t), COLUMN(1, int64_t), COLUMN(2, int64_t), COLUMN(3, int64_t), COLUMN(4, int64_t),
                        COLUMN(5, uint32_t), COLUMN(6, int32_t), COLUMN(7, uint16_t), COLUMN(8, int8_t), COLUMN(9, int8_t),
                        COLUMN(10, uint8_t), COLUMN(11, uint8_t), COLUMN(12, uint8_t), NULL, NULL};
  if (given > 1 && !b.bad) {
    void *bytes_at, *lengths_at;
    size_t byte_count = 0, length_count = 0, needed = 0;
    if (napi_get_typedarray_info(env, a[1], NULL, &byte_count, &bytes_at, NULL, NULL) != napi_ok ||
        napi_get_typedarray_info(env, a[2], NULL, &length_count, &lengths_at, NULL, NULL) != napi_ok)
      return fail(env, DM_E_ARGUMENT, "publishTrades: text ids");
    c.text = bytes_at;
    c.text_length = lengths_at;
    for (uint32_t i = 0; i < b.rows && i < length_count; i++) {
      needed += c.text_length[i];
      b.bad |= c.text_length[i] > 120;
    }
    b.bad |= length_count < b.rows || needed > byte_count;
  }
  if (b.bad) return fail(env, DM_E_ARGUMENT, "publishTrades: columns outside the buffer, or a text id over 120 bytes");
  if (resolved(env, x, &b, c.instrument, c.publisher)) dm_publish_trades(&x->p, &c, b.rows);
  producer_control(x);
  return NULL;
}

/* publishQuotes(buffer); how many rows miss something stands in the control block */
static napi_value publish_quotes(napi_env env, napi_callback_info info) {
  napi_value a[1];
  producer *x = producer_of(env, arguments(env, info, 1, a));
  if (!x) return NULL;
  if (x->p.ring.record_schema != DM_SCHEMA_QUOTES) return fail(env, DM_E_ARGUMENT, "publishQuotes");
  batch b = batch_of(env, x, a[0], 23);
  dm_quote_columns c = {COLUMN(0, int64_t), COLUMN(1, int64_t), COLUMN(2, int64_t), COLUMN(3, int64_t), COLUMN(4, int64_t),
                        COLUMN(5, int64_t), COLUMN(6, int64_t), COLUMN(7, int64_t), COLUMN(8, int64_t), COLUMN(9, uint32_t),
                        COLUMN(10, uint32_t), COLUMN(11, uint32_t), COLUMN(12, int32_t), COLUMN(13, uint16_t),
                        COLUMN(14, uint16_t), COLUMN(15, uint16_t), COLUMN(16, int8_t), COLUMN(17, int8_t), COLUMN(18, uint8_t),
                        COLUMN(19, uint8_t), COLUMN(20, uint8_t), COLUMN(21, uint8_t), COLUMN(22, uint8_t)};
  if (b.bad) return fail(env, DM_E_ARGUMENT, "publishQuotes: columns outside the buffer");
  if (resolved(env, x, &b, c.instrument, c.publisher)) dm_publish_quotes(&x->p, &c, b.rows);
  producer_control(x);
  return NULL;
}

/* addEntry(type, nativeId, keyKind, priceScale, sizeScale, assetClass, context, publisher, symbol, provider, exchange,
   datasetBytes): index, or below zero */
static napi_value add_entry(napi_env env, napi_callback_info info) {
  napi_value a[12];
  producer *x = producer_of(env, arguments(env, info, 12, a));
  if (!x) return NULL;
  char symbol[256], provider[256], exchange[256];
  dm_entry_text t = {.type = (uint8_t)u32(env, a[0]), .native_id = u32(env, a[1]), .key_kind = (uint8_t)u32(env, a[2]),
                     .price_scale = (uint8_t)u32(env, a[3]), .size_scale = (uint8_t)u32(env, a[4]),
                     .asset_class = (uint8_t)u32(env, a[5]), .context = (uint16_t)u32(env, a[6]),
                     .publisher = (uint16_t)u32(env, a[7]), .symbol = symbol, .provider = provider, .exchange = exchange};
  t.symbol_length = (uint32_t)text(env, a[8], symbol, sizeof symbol);
  t.provider_length = (uint32_t)text(env, a[9], provider, sizeof provider);
  t.exchange_length = (uint32_t)text(env, a[10], exchange, sizeof exchange);
  t.dataset_length = u32(env, a[11]);
  int result = dm_dict_add(&x->p, &t);
  producer_control(x);
  return integer(env, result);
}

static napi_value bind_instrument(napi_env env, napi_callback_info info) {
  napi_value a[3];
  producer *x = producer_of(env, arguments(env, info, 3, a));
  return x ? integer(env, dm_dict_bind(&x->p, u32(env, a[0]), u32(env, a[1]), u32(env, a[2]))) : NULL;
}

static napi_value bind_publisher(napi_env env, napi_callback_info info) {
  napi_value a[2];
  producer *x = producer_of(env, arguments(env, info, 2, a));
  return x ? integer(env, dm_publisher_bind(&x->p, u32(env, a[0]), u32(env, a[1]))) : NULL;
}

/* publishGap(Uint8Array of 64 bytes: a dm_gap_record with its tail) */
static napi_value publish_gap(napi_env env, napi_callback_info info) {
  napi_value a[1];
  producer *x = producer_of(env, arguments(env, info, 1, a));
  void *data = NULL;
  size_t length = 0;
  if (!x) return NULL;
  if (napi_get_typedarray_info(env, a[0], NULL, &length, &data, NULL, NULL) != napi_ok || length != 64)
    return fail(env, DM_E_ARGUMENT, "publishGap");
  uint64_t record[8];
  memcpy(record, data, 64);
  dm_publish_gap(&x->p, (const dm_gap_record *)(const void *)record);
  producer_control(x);
  return NULL;
}

static napi_value mark_durable(napi_env env, napi_callback_info info) {
  napi_value a[1];
  producer *x = producer_of(env, arguments(env, info, 1, a));
  if (x) dm_producer_durable(&x->p, u64(env, a[0]));
  return NULL;
}

/* beginReplay(start, end: bigint ns, speedMilli, cause) */
static napi_value begin_replay(napi_env env, napi_callback_info info) {
  napi_value a[4];
  producer *x = producer_of(env, arguments(env, info, 4, a));
  int64_t start = 0, end = 0;
  bool lossless;
  if (!x) return NULL;
  if (napi_get_value_bigint_int64(env, a[0], &start, &lossless) != napi_ok ||
      napi_get_value_bigint_int64(env, a[1], &end, &lossless) != napi_ok)
    return fail(env, DM_E_ARGUMENT, "beginReplay");
  dm_producer_replay(&x->p, start, end, u32(env, a[2]), u32(env, a[3]));
  return NULL;
}

static napi_value end_replay(napi_env env, napi_callback_info info) {
  producer *x = producer_of(env, arguments(env, info, 0, NULL));
  if (x) dm_producer_replay_end(&x->p);
  return NULL;
}

static napi_value heartbeat(napi_env env, napi_callback_info info) {
  producer *x = producer_of(env, arguments(env, info, 0, NULL));
  if (x) dm_producer_heartbeat(&x->p);
  return NULL;
}

static napi_value connections(napi_env env, napi_callback_info info) {
  producer *x = producer_of(env, arguments(env, info, 0, NULL));
  return x ? number(env, dm_producer_connections(&x->p)) : NULL;
}

static napi_value renew(napi_env env, napi_callback_info info) {
  producer *x = producer_of(env, arguments(env, info, 0, NULL));
  if (!x) return NULL;
  int result = dm_producer_renew(&x->p);
  producer_control(x);
  return result == DM_OK ? NULL : fail(env, result, "renew");
}

static napi_value close_producer(napi_env env, napi_callback_info info) {
  producer_close(arguments(env, info, 0, NULL));
  return NULL;
}

static napi_value entries_from(napi_env env, const dm_ring *ring, uint32_t from, uint16_t *contexts);
static napi_value producer_entries(napi_env env, napi_callback_info info) {
  napi_value a[1];
  producer *x = producer_of(env, arguments(env, info, 1, a));
  return x ? entries_from(env, &x->p.ring, u32(env, a[0]), NULL) : NULL;
}

/* openProducer(dir, name, capacity, schema, dictCap, timeInterval, blockMicros, group, columnOffsets) */
static napi_value open_producer(napi_env env, napi_callback_info info) {
  napi_value a[9], object;
  arguments(env, info, 9, a);
  char dir[4096], name[256];
  text(env, a[0], dir, sizeof dir);
  text(env, a[1], name, sizeof name);
  dm_options o = {.capacity = u64(env, a[2]), .record_schema = u32(env, a[3]), .dict_cap = u32(env, a[4]),
                  .time_interval = u32(env, a[5]), .block_us = u32(env, a[6]), .group = u32(env, a[7])};
  uint32_t column_offset[MAX_COLUMNS] = {0};
  if (!column_offsets(env, a[8], o.record_schema, column_offset)) return fail(env, DM_E_ARGUMENT, "column offsets");
  int dirfd = dm_directory_open(dir, (uint32_t)geteuid(), 1, (int)o.group);
  if (dirfd < 0) return fail(env, dirfd, "directory");
  producer *x = calloc(1, sizeof *x);
  if (!x) {
    close(dirfd);
    return fail(env, DM_E_NO_SPACE, "memory");
  }
  memcpy(x->column_offset, column_offset, sizeof column_offset);
  int result = dm_producer_open(&x->p, dirfd, name, &o);
  if (result != DM_OK) {
    free(x);
    return fail(env, result, "ring");
  }
  x->base.close = producer_close;
  x->open = 1;
  napi_create_object(env, &object);
  x->control = control_block(env, object, &x->control_ref);
  producer_control(x);
  set(env, object, "takenOver", boolean(env, x->p.taken_over));
  set_number(env, object, "baseSeq", (double)x->p.ring.base_seq);
  set_number(env, object, "repaired", (double)x->p.repaired);
  set_number(env, object, "capacity", (double)x->p.ring.capacity);
  set_number(env, object, "bytes", (double)x->p.ring.bytes);
  method(env, object, "publishTrades", publish_trades, &x->base);
  method(env, object, "publishQuotes", publish_quotes, &x->base);
  method(env, object, "addEntry", add_entry, &x->base);
  method(env, object, "bindInstrument", bind_instrument, &x->base);
  method(env, object, "bindPublisher", bind_publisher, &x->base);
  method(env, object, "publishGap", publish_gap, &x->base);
  method(env, object, "markDurable", mark_durable, &x->base);
  method(env, object, "beginReplay", begin_replay, &x->base);
  method(env, object, "endReplay", end_replay, &x->base);
  method(env, object, "heartbeat", heartbeat, &x->base);
  method(env, object, "connections", connections, &x->base);
  method(env, object, "entries", producer_entries, &x->base);
  method(env, object, "renew", renew, &x->base);
  method(env, object, "close", close_producer, &x->base);
  return object;
}

/* ------------------------------------------------------------------------------------------------ segment */

typedef struct segment {
  handle base;
  dm_ring ring;
  int fd, dirfd, open;
  char name[DM_NAME_MAX + 1];
  uint32_t owner, users;  /* cursors on it */
  uint16_t *contexts;     /* of each dictionary index that has been read; 65535: none */
} segment;

static void segment_drop(segment *s) {
  if (s->open || s->users > 0) return;
  if (s->ring.base) dm_ring_unmap(&s->ring, s->fd);
  if (s->dirfd >= 0) close(s->dirfd);
  free(s->contexts);
  s->ring.base = NULL;
  s->contexts = NULL;
  s->fd = s->dirfd = -1;
}

static void segment_close(handle *h) {
  segment *s = (segment *)h;
  s->open = 0;
  segment_drop(s);
}

static segment *segment_of(napi_env env, void *data) {
  segment *s = data;
  if (s->ring.base) return s;
  napi_throw_error(env, "DM_CLOSED", "the ring is closed");
  return NULL;
}

static napi_value entry_object(napi_env env, uint32_t index, const dm_dict_entry *e) {
  napi_value o;
  napi_create_object(env, &o);
  const char *provider = e->text + e->symbol_length, *exchange = provider + e->provider_length;
  size_t rest = DM_TEXT_MAX - (size_t)e->symbol_length - e->provider_length;
  set_number(env, o, "index", index);
  set_number(env, o, "type", e->type);
  set_number(env, o, "nativeId", e->native_id);
  set_number(env, o, "keyKind", e->key_kind);
  set_number(env, o, "priceScale", e->price_scale);
  set_number(env, o, "sizeScale", e->size_scale);
  set_number(env, o, "assetClass", e->asset_class);
  set_number(env, o, "context", e->context);
  set_number(env, o, "publisher", e->publisher);
  set_number(env, o, "lastSeq", (double)e->last_seq);
  set(env, o, "symbol", string(env, e->text, e->symbol_length));
  set(env, o, "dataset", string(env, e->text, e->dataset_length));
  set(env, o, "provider", string(env, provider, e->provider_length));
  set(env, o, "exchange", string(env, exchange, strnlen(exchange, rest)));
  return o;
}

/* Entries from `from` on, at most 4,096; a damaged one is `null`. */
static napi_value entries_from(napi_env env, const dm_ring *ring, uint32_t from, uint16_t *contexts) {
  napi_value list, item;
  uint32_t count = dm_ring_dict_count(ring), end = count > from + 4096 ? from + 4096 : count;
  napi_create_array(env, &list);
  for (uint32_t i = from; i < end; i++) {
    dm_dict_entry e;
    int ok = dm_ring_entry(ring, i, &e) == DM_OK && e.context < MAX_CONTEXTS;
    if (contexts) contexts[i] = ok && e.type == DM_ENTRY_INSTRUMENT ? e.context : 0xffff;
    if (ok) item = entry_object(env, i, &e);
    else napi_get_null(env, &item);
    napi_set_element(env, list, i - from, item);
  }
  return list;
}

static napi_value segment_entries(napi_env env, napi_callback_info info) {
  napi_value a[1];
  segment *s = segment_of(env, arguments(env, info, 1, a));
  return s ? entries_from(env, &s->ring, u32(env, a[0]), s->contexts) : NULL;
}

static napi_value segment_alive(napi_env env, napi_callback_info info) {
  segment *s = segment_of(env, arguments(env, info, 0, NULL));
  return s ? boolean(env, dm_producer_alive(s->fd)) : NULL;
}

static napi_value segment_current(napi_env env, napi_callback_info info) {
  segment *s = segment_of(env, arguments(env, info, 0, NULL));
  return s ? boolean(env, dm_is_current(s->dirfd, s->name, s->fd)) : NULL;
}

static napi_value segment_epoch_start(napi_env env, napi_callback_info info) {
  napi_value a[1];
  segment *s = segment_of(env, arguments(env, info, 1, a));
  return s ? number(env, (double)dm_ring_epoch_start(&s->ring, u64(env, a[0]))) : NULL;
}

static napi_value segment_oldest(napi_env env, napi_callback_info info) {
  segment *s = segment_of(env, arguments(env, info, 0, NULL));
  return s ? number(env, (double)dm_ring_oldest(&s->ring)) : NULL;
}

static napi_value segment_seek(napi_env env, napi_callback_info info) {
  napi_value a[1];
  segment *s = segment_of(env, arguments(env, info, 1, a));
  int64_t ns = 0;
  bool lossless;
  if (!s) return NULL;
  napi_get_value_bigint_int64(env, a[0], &ns, &lossless);
  return number(env, (double)dm_ring_seek_time(&s->ring, ns < 0 ? 0 : (uint64_t)ns));
}

static napi_value segment_info(napi_env env, napi_callback_info info) {
  segment *s = segment_of(env, arguments(env, info, 0, NULL));
  if (!s) return NULL;
  const dm_header *h = s->ring.header;
  napi_value o, list;
  napi_create_object(env, &o);
  set_number(env, o, "abiMinor", h->abi_minor);
  set_number(env, o, "epoch", (double)dm_load_acquire(&h->epoch));
  set_number(env, o, "capacity", (double)s->ring.capacity);
  set_number(env, o, "recordSize", s->ring.record_size);
  set_number(env, o, "recordSchema", s->ring.record_schema);
  set_number(env, o, "bytes", (double)s->ring.bytes);
  set_number(env, o, "baseSeq", (double)s->ring.base_seq);
  set_number(env, o, "dictCap", s->ring.dict_cap);
  set_number(env, o, "dictCount", dm_ring_dict_count(&s->ring));
  set_number(env, o, "writeSeq", (double)dm_ring_write_seq(&s->ring));
  set_number(env, o, "durableSeq", (double)dm_load(&h->durable_seq));
  set_number(env, o, "state", dm_load_acquire(&h->state));
  set_number(env, o, "producerPid", dm_load(&h->producer_pid));
  set_number(env, o, "startTimeMs", (double)dm_load(&h->start_time) / 1e6);
  set_number(env, o, "heartbeatTimeMs", (double)dm_load(&h->wall_ns) / 1e6);
  set_hex(env, o, "uuid", s->ring.uuid);
  set_hex(env, o, "previousUuid", s->ring.prev_uuid);
  set_hex(env, o, "bootId", h->boot_id);
  napi_create_array(env, &list);
  for (uint32_t i = 0, n = 0; i < DM_EPOCHS; i++) {
    if (h->epochs[i].epoch == 0) continue;
    napi_value e;
    napi_create_object(env, &e);
    set_number(env, e, "epoch", (double)h->epochs[i].epoch);
    set_number(env, e, "firstSeq", (double)h->epochs[i].first_seq);
    napi_set_element(env, list, n++, e);
  }
  set(env, o, "epochs", list);
  return o;
}

/* replays(): the stretches of replay that are remembered, newest first; end is -1 while one goes on */
static napi_value segment_replays(napi_env env, napi_callback_info info) {
  segment *s = segment_of(env, arguments(env, info, 0, NULL));
  if (!s) return NULL;
  napi_value list, o, v;
  napi_create_array(env, &list);
  uint64_t count = dm_load_acquire(&s->ring.header->replay_count);
  uint32_t used = 0;
  for (uint64_t n = count, left = DM_REPLAYS; n > 0 && left > 0; n--, left--) {
    dm_replay e;
    if (!dm_ring_replay(&s->ring, n, &e)) continue;
    napi_create_object(env, &o);
    set_number(env, o, "number", (double)n);
    set_number(env, o, "firstSeq", (double)e.first_seq);
    set_number(env, o, "endSeq", e.end_seq == UINT64_MAX ? -1 : (double)e.end_seq);
    napi_create_bigint_int64(env, e.start, &v);
    set(env, o, "start", v);
    napi_create_bigint_int64(env, e.end, &v);
    set(env, o, "end", v);
    set_number(env, o, "speedMilli", e.speed_milli);
    set_number(env, o, "cause", e.cause);
    napi_set_element(env, list, used++, o);
  }
  return list;
}

static napi_value close_segment(napi_env env, napi_callback_info info) {
  segment_close(arguments(env, info, 0, NULL));
  return NULL;
}

/* ------------------------------------------------------------------------------------------------ cursor */

/* Control block of a cursor. C_LIMIT, C_OFFSET and C_ROOM are what JavaScript writes before it polls: how many rows at most,
   and where in the buffer it gives there is room for how many bytes. C_PLACED: the rows are there already. C_REPLAY: the
   stretch of replay that the rows stand in; of `last` that of the C_REPLAYED oldest ones, the others are live. */
enum { C_COUNT, C_NEXT, C_WRITTEN, C_GAP_FROM, C_GAP_TO, C_DICT, C_EPOCH, C_LOST, C_GAPS, C_DELIVERED, C_SUPPRESSED, C_STATE,
       C_GROUPS, C_DEMOTED, C_DURABLE, C_CONTROLS, C_CORRUPT, C_COMPLETE, C_STATUS, C_PLACED, C_LIMIT = 20, C_OFFSET, C_ROOM,
       C_REPLAY, C_FIRST_GROUP = 24, C_REPLAYED = C_FIRST_GROUP + 2 * MAX_GROUPS };

typedef struct cursor {
  handle base;
  segment *s;
  dm_cursor c;
  dm_reader reader;
  int attached, open;
  uint8_t *rows;
  uint32_t row_count;
  uint8_t group_of[MAX_POLL];        /* of each row; 255: none */
  uint16_t group_context[MAX_GROUPS];
  uint32_t group_rows[MAX_GROUPS];
  uint32_t group_count;
  int whole;                         /* all rows are of group 0 */
  uint8_t slot_of_context[MAX_CONTEXTS];
  uint64_t *filter;
  double corrupt;
  uint32_t column_offset[MAX_COLUMNS]; /* bytes before the column, per row of capacity */
  double *control;
  napi_ref control_ref;
} cursor;

static void cursor_close(handle *h) {
  cursor *x = (cursor *)h;
  if (!x->open) return;
  x->open = 0;
  if (x->attached) dm_reader_detach(&x->reader);
  x->attached = 0;
  x->s->users--;
  segment_drop(x->s);
  release(NULL, x->s, NULL);
  free(x->rows);
  free(x->filter);
  x->rows = NULL;
  x->filter = NULL;
}

static cursor *cursor_of(napi_env env, void *data) {
  cursor *x = data;
  if (x->open) return x;
  napi_throw_error(env, "DM_CLOSED", "the subscription is closed");
  return NULL;
}

static uint8_t *row_at(cursor *x, uint32_t i) { return x->rows + (size_t)i * x->s->ring.record_size; }

static uint8_t group_for(cursor *x, uint16_t context) {
  uint8_t slot = x->slot_of_context[context];
  if (slot < x->group_count && x->group_context[slot] == context) return slot;
  if (x->group_count == MAX_GROUPS) return 255;
  slot = (uint8_t)x->group_count++;
  x->slot_of_context[context] = slot;
  x->group_context[slot] = context;
  x->group_rows[slot] = 0;
  return slot;
}

/* What nearly always holds: all rows are of one context. `group_of` is not needed then. */
static int one_group(cursor *x) {
  const uint32_t size = x->s->ring.record_size, known = x->c.known_dict, count = x->row_count;
  const uint16_t *contexts = x->s->contexts;
  const uint8_t *tail = x->rows + size - sizeof(dm_tail);
  uint32_t other = 0, first = 0;
  x->whole = 0;
  for (uint32_t i = 0; i < count; i++, tail += size) {
    const dm_tail *t = (const dm_tail *)(const void *)tail;
    uint32_t context = t->instrument < known ? contexts[t->instrument] : 0xffff;
    if (i == 0) first = context;
    other |= context ^ first;
    other |= (t->kind & 15u) ^ DM_KIND_ROW;
  }
  if (count == 0 || other || first == 0xffff) return 0;
  x->group_count = 1;
  x->group_context[0] = (uint16_t)first;
  x->group_rows[0] = count;
  x->control[C_CONTROLS] = 0;
  x->whole = 1;
  return 1;
}

/* Sorts the rows by context: a batch is of one provider, dataset and key kind. Returns where it stopped: rows of a 49th
   context stay for the next poll. */
static void group_rows(cursor *x) {
  const dm_ring *r = &x->s->ring;
  if (one_group(x)) return;
  uint32_t controls = 0;
  x->group_count = 0;
  for (uint32_t i = 0; i < x->row_count; i++) {
    const dm_tail *t = dm_row_tail(row_at(x, i), r->record_size);
    uint32_t kind = t->kind & 15;
    uint16_t context = 0xffff;
    x->group_of[i] = 255;
    if (kind == DM_KIND_CONTROL) {
      controls++;
      continue;
    }
    if (kind == DM_KIND_TEXT) continue;
    if (kind == DM_KIND_ROW && t->instrument < x->c.known_dict) context = x->s->contexts[t->instrument];
    uint8_t slot = context == 0xffff ? 255 : group_for(x, context);
    x->group_of[i] = slot;
    if (slot == 255) x->corrupt++;
    else x->group_rows[slot]++;
  }
  x->control[C_CONTROLS] = controls;
}

static void cursor_control(cursor *x) {
  const dm_header *h = x->s->ring.header;
  double *c = x->control;
  c[C_COUNT] = x->row_count;
  c[C_NEXT] = (double)x->c.next;
  c[C_WRITTEN] = (double)x->c.seen;
  c[C_GAP_FROM] = (double)x->c.gap_from;
  c[C_GAP_TO] = (double)x->c.gap_to;
  c[C_EPOCH] = (double)dm_load_acquire(&h->epoch);
  c[C_LOST] = (double)x->c.lost;
  c[C_GAPS] = (double)x->c.gaps;
  c[C_DELIVERED] = (double)x->c.delivered;
  c[C_SUPPRESSED] = (double)x->c.suppressed;
  c[C_STATE] = dm_load_acquire(&h->state);
  c[C_GROUPS] = x->group_count;
  c[C_DEMOTED] = x->attached ? dm_load(&x->reader.state->demoted) : 0;
  c[C_DURABLE] = (double)dm_load(&h->durable_seq);
  c[C_CORRUPT] = x->corrupt;
  c[C_REPLAY] = (double)x->c.replay;
  for (uint32_t g = 0; g < x->group_count; g++) {
    c[C_FIRST_GROUP + 2 * g] = x->group_context[g];
    c[C_FIRST_GROUP + 2 * g + 1] = x->group_rows[g];
  }
}

static int poll_once(cursor *x, uint32_t limit) {
  int status = dm_ring_poll(&x->s->ring, &x->c, x->rows, limit, &x->row_count);
  x->control[C_STATUS] = status;
  x->control[C_PLACED] = 0;
  if (status == DM_POLL_EMPTY && x->c.suppressed == (uint64_t)x->control[C_SUPPRESSED]) {
    x->row_count = x->group_count = 0;
    x->control[C_COUNT] = x->control[C_GROUPS] = x->control[C_CONTROLS] = 0;
    x->control[C_NEXT] = (double)x->c.next;
    x->control[C_WRITTEN] = (double)x->c.seen;
    x->control[C_EPOCH] = (double)dm_load_acquire(&x->s->ring.header->epoch);
    x->control[C_STATE] = dm_load_acquire(&x->s->ring.header->state);
    return status;
  }
  group_rows(x);
  if (x->attached) dm_reader_report(&x->reader, &x->c);
  cursor_control(x);
  if (status == DM_POLL_DICT) x->control[C_DICT] = dm_ring_dict_count(&x->s->ring);
  return status;
}

static uint32_t poll_limit(double limit) { return !(limit >= 4) ? 4 : limit > MAX_POLL ? MAX_POLL : (uint32_t)limit; }

/* Column memory: `capacity` rows of room from `base` on. */
typedef struct target { uint8_t *base; uint64_t capacity; const uint32_t *offset; } target;
/* The columns never overlap each other or the rows: said to the compiler, which else reads every address again for each row. */
#define TO(k, type, name) type *restrict name = (type *)(void *)(t.base + t.offset[k] * t.capacity)

/* Writes `count` rows, or those of `group` where `group_of` is given. */
static void put_trades(target t, const dm_trade *restrict d, uint32_t count, const uint8_t *restrict group_of, uint32_t group) {
  TO(0, int64_t, ts_event); TO(1, int64_t, ts_recv); TO(2, int64_t, trade_key); TO(3, int64_t, price); TO(4, int64_t, size);
  TO(5, uint32_t, instrument); TO(6, int32_t, ts_in_delta); TO(7, uint16_t, publisher);
  TO(8, int8_t, price_exponent); TO(9, int8_t, size_exponent); TO(10, uint8_t, side); TO(11, uint8_t, flags); TO(12, uint8_t, depth);
  for (uint32_t i = 0, n = 0; i < count; i++, d++) {
    if (group_of && group_of[i] != group) continue;
    ts_event[n] = d->ts_event;
    ts_recv[n] = d->ts_recv;
    trade_key[n] = d->trade_key;
    price[n] = d->price;
    size[n] = d->size;
    instrument[n] = d->tail.instrument;
    ts_in_delta[n] = d->tail.ts_in_delta;
    publisher[n] = d->tail.publisher;
    price_exponent[n] = d->tail.price_exponent;
    size_exponent[n] = d->tail.size_exponent;
    side[n] = d->tail.kind >> 4 & 3;
    flags[n] = d->tail.flags;
    depth[n] = (uint8_t)d->tail.back;
    n++;
  }
}

static void put_quotes(target t, const dm_quote *restrict d, uint32_t count, const uint8_t *restrict group_of, uint32_t group) {
  TO(0, int64_t, ts_event); TO(1, int64_t, ts_recv); TO(2, int64_t, quote_key); TO(3, int64_t, bid_price); TO(4, int64_t, ask_price);
  TO(5, int64_t, price); TO(6, int64_t, bid_size); TO(7, int64_t, ask_size); TO(8, int64_t, size);
  TO(9, uint32_t, bid_count); TO(10, uint32_t, ask_count); TO(11, uint32_t, instrument); TO(12, int32_t, ts_in_delta);
  TO(13, uint16_t, publisher); TO(14, uint16_t, bid_publisher); TO(15, uint16_t, ask_publisher);
  TO(16, int8_t, price_exponent); TO(17, int8_t, size_exponent); TO(18, uint8_t, schema); TO(19, uint8_t, side);
  TO(20, uint8_t, action); TO(21, uint8_t, flags); TO(22, uint8_t, depth);
  for (uint32_t i = 0, n = 0; i < count; i++, d++) {
    if (group_of && group_of[i] != group) continue;
    ts_event[n] = d->ts_event;
    ts_recv[n] = d->ts_recv;
    quote_key[n] = d->quote_key;
    bid_price[n] = d->bid_price;
    ask_price[n] = d->ask_price;
    price[n] = d->price;
    bid_size[n] = d->bid_size;
    ask_size[n] = d->ask_size;
    size[n] = d->size;
    bid_count[n] = d->bid_count;
    ask_count[n] = d->ask_count;
    instrument[n] = d->tail.instrument;
    ts_in_delta[n] = d->tail.ts_in_delta;
    publisher[n] = d->tail.publisher;
    bid_publisher[n] = d->bid_publisher;
    ask_publisher[n] = d->ask_publisher;
    price_exponent[n] = d->tail.price_exponent;
    size_exponent[n] = d->tail.size_exponent;
    schema[n] = d->schema;
    side[n] = d->tail.kind >> 4 & 3;
    action[n] = d->action;
    flags[n] = d->tail.flags;
    depth[n] = (uint8_t)d->tail.back;
    n++;
  }
}

static void put_group(cursor *x, target t, uint32_t group) {
  const uint8_t *group_of = x->whole ? NULL : x->group_of;
  if (x->s->ring.record_schema == DM_SCHEMA_TRADES) put_trades(t, (const dm_trade *)(const void *)x->rows, x->row_count, group_of, group);
  else put_quotes(t, (const dm_quote *)(const void *)x->rows, x->row_count, group_of, group);
}

static uint32_t row_bytes(const cursor *x) { return x->column_offset[x->s->ring.record_schema == DM_SCHEMA_TRADES ? 13 : 23]; }

/* Rows of one context go to the buffer at once, if they fit: the call that would fetch them costs as much as ten of them. */
static void place(napi_env env, cursor *x, napi_value buffer) {
  uint64_t capacity = (x->row_count + 7) & ~7u, needed = capacity * row_bytes(x);
  double offset = x->control[C_OFFSET];
  void *base = NULL;
  size_t bytes = 0;
  if (!x->whole || !((double)needed <= x->control[C_ROOM]) || !(offset >= 0 && offset <= 4294967288.0)) return;
  if (napi_get_arraybuffer_info(env, buffer, &base, &bytes) != napi_ok) return;
  if (((uint64_t)offset & 7) || (uint64_t)offset + needed > bytes) return;
  put_group(x, (target){(uint8_t *)base + (size_t)offset, capacity, x->column_offset}, 0);
  x->control[C_PLACED] = 1;
}

/* poll(buffer): the status and everything else stands in the control block */
static napi_value cursor_poll(napi_env env, napi_callback_info info) {
  napi_value a[1];
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (x && poll_once(x, poll_limit(x->control[C_LIMIT])) == DM_POLL_ROWS) place(env, x, a[0]);
  return NULL;
}

/* spin(buffer, micros): polls until something is there, at most that long */
static napi_value cursor_spin(napi_env env, napi_callback_info info) {
  napi_value a[2];
  cursor *x = cursor_of(env, arguments(env, info, 2, a));
  if (!x) return NULL;
  uint64_t micros = u32(env, a[1]) > 100000 ? 100000 : u32(env, a[1]);
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (uint32_t turn = 1; dm_ring_write_seq(&x->s->ring) == x->c.next; turn++) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    if (turn & 63) continue;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((uint64_t)((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000) >= micros) break;
  }
  if (poll_once(x, poll_limit(x->control[C_LIMIT])) == DM_POLL_ROWS) place(env, x, a[0]);
  return NULL;
}

/* take(group, buffer, capacity, offset): writes the rows of a group into column memory; how many */
static napi_value cursor_take(napi_env env, napi_callback_info info) {
  napi_value a[4];
  cursor *x = cursor_of(env, arguments(env, info, 4, a));
  void *base = NULL;
  size_t bytes = 0;
  if (!x) return NULL;
  uint32_t group = u32(env, a[0]), capacity = u32(env, a[2]), offset = u32(env, a[3]);
  if (napi_get_arraybuffer_info(env, a[1], &base, &bytes) != napi_ok || group >= x->group_count ||
      x->group_rows[group] > capacity || ((capacity | offset) & 7) || (uint64_t)row_bytes(x) * capacity + offset > bytes)
    return fail(env, DM_E_ARGUMENT, "take");
  put_group(x, (target){(uint8_t *)base + offset, capacity, x->column_offset}, group);
  return number(env, x->group_rows[group]);
}

/* texts(group): array of the rows' text ids; undefined where the text slots were not all there */
static napi_value cursor_texts(napi_env env, napi_callback_info info) {
  napi_value a[1], list, item;
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (!x) return NULL;
  uint32_t group = u32(env, a[0]), n = 0;
  napi_create_array(env, &list);
  for (uint32_t i = 0; i < x->row_count; i++) {
    if (!x->whole && x->group_of[i] != group) continue;
    const dm_trade *row = (const dm_trade *)(const void *)row_at(x, i);
    uint32_t slots = row->tail.kind >> 6, whole = slots > 0, length = 0;
    char id[120];
    for (uint32_t k = 1; k <= slots && whole; k++) {
      const dm_trade *part = (const dm_trade *)(const void *)row_at(x, i + k);
      whole = i + k < x->row_count && (part->tail.kind & 15) == DM_KIND_TEXT && part->stamp == row->stamp + k && part->tail.flags <= 40;
      if (!whole) break;
      memcpy(id + length, (const uint8_t *)part + 8, part->tail.flags);
      length += part->tail.flags;
    }
    if (whole) item = string(env, id, length);
    else napi_get_undefined(env, &item);
    napi_set_element(env, list, n++, item);
  }
  return list;
}

/* controls(): the control records of the last poll as copies of 64 bytes, payload and tail */
static napi_value cursor_controls(napi_env env, napi_callback_info info) {
  napi_value list;
  cursor *x = cursor_of(env, arguments(env, info, 0, NULL));
  uint32_t n = 0, size;
  if (!x) return NULL;
  size = x->s->ring.record_size;
  napi_create_array(env, &list);
  for (uint32_t i = 0; i < x->row_count; i++) {
    const uint8_t *row = row_at(x, i);
    if ((dm_row_tail((void *)(uintptr_t)row, size)->kind & 15) != DM_KIND_CONTROL) continue;
    napi_value buffer;
    void *data;
    napi_create_arraybuffer(env, 64, &data, &buffer);
    memcpy(data, row, 48);
    memcpy((uint8_t *)data + 48, row + size - 16, 16);
    napi_set_element(env, list, n++, buffer);
  }
  return list;
}

/* last(instrument, before, depth): the newest rows of an instrument, oldest first, as group 0 if there are any; how many */
static napi_value cursor_last(napi_env env, napi_callback_info info) {
  napi_value a[3];
  cursor *x = cursor_of(env, arguments(env, info, 3, a));
  if (!x) return NULL;
  const dm_ring *r = &x->s->ring;
  uint32_t instrument = u32(env, a[0]), depth = u32(env, a[2]);
  if (depth > MAX_POLL) depth = MAX_POLL;
  uint8_t *found = malloc((size_t)(depth ? depth : 1) * r->record_size);
  if (!found) return fail(env, DM_E_NO_SPACE, "memory");
  int complete = 0;
  uint32_t rows = dm_ring_last(r, instrument, u64(env, a[1]), found, depth, &complete), replayed = 0;
  x->row_count = 0;
  x->c.replay = 0;
  for (; replayed < rows; replayed++) {
    uint64_t edge, seq = ((const dm_trade *)(const void *)(found + (size_t)(rows - 1 - replayed) * r->record_size))->stamp - 1;
    uint64_t stretch = dm_ring_replay_at(r, seq, &edge);
    if (!stretch) break;
    x->c.replay = stretch;
  }
  for (uint32_t i = rows; i-- > 0 && x->row_count + 4 <= MAX_POLL;) {
    const uint8_t *row = found + (size_t)i * r->record_size;
    memcpy(row_at(x, x->row_count++), row, r->record_size);
    uint32_t texts = dm_row_tail((void *)(uintptr_t)row, r->record_size)->kind >> 6;
    uint64_t seq = ((const dm_trade *)(const void *)row)->stamp - 1;
    for (uint32_t k = 1; k <= texts && dm_ring_copy(r, seq + k, row_at(x, x->row_count)); k++) x->row_count++;
  }
  free(found);
  group_rows(x);
  cursor_control(x);
  x->control[C_COMPLETE] = complete;
  x->control[C_REPLAYED] = replayed;
  return number(env, rows);
}

/* setFilter(Uint32Array of dictionary indexes | null) */
static napi_value cursor_filter(napi_env env, napi_callback_info info) {
  napi_value a[1];
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (!x) return NULL;
  void *data = NULL;
  size_t length = 0;
  napi_typedarray_type type = napi_uint8_array;
  if (napi_get_typedarray_info(env, a[0], &type, &length, &data, NULL, NULL) != napi_ok || type != napi_uint32_array) {
    x->c.filter = NULL;
    return NULL;
  }
  size_t words = (x->s->ring.dict_cap + 63) / 64;
  if (!x->filter) x->filter = malloc(words * 8);
  if (!x->filter) return fail(env, DM_E_NO_SPACE, "memory");
  memset(x->filter, 0, words * 8);
  for (size_t i = 0; i < length; i++) {
    uint32_t index = ((const uint32_t *)data)[i];
    if (index < x->s->ring.dict_cap) x->filter[index >> 6] |= 1ull << (index & 63);
  }
  x->c.filter = x->filter;
  return NULL;
}

static napi_value cursor_known(napi_env env, napi_callback_info info) {
  napi_value a[1];
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (x) x->c.known_dict = u32(env, a[0]) > x->s->ring.dict_cap ? x->s->ring.dict_cap : u32(env, a[0]);
  return NULL;
}

static napi_value cursor_until(napi_env env, napi_callback_info info) {
  napi_value a[1];
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (x) x->c.until = u64(env, a[0]);
  return NULL;
}

static napi_value cursor_epoch(napi_env env, napi_callback_info info) {
  napi_value a[1];
  cursor *x = cursor_of(env, arguments(env, info, 1, a));
  if (x) x->c.epoch = u64(env, a[0]);
  return NULL;
}

/* arm(): true when the caller may sleep on the bell, false when records arrived meanwhile */
static napi_value cursor_arm(napi_env env, napi_callback_info info) {
  cursor *x = cursor_of(env, arguments(env, info, 0, NULL));
  if (!x) return NULL;
  if (!x->attached) return boolean(env, 1);
  dm_reader_arm(&x->reader);
  int sleep = dm_ring_write_seq(&x->s->ring) == x->c.next;
  if (!sleep) dm_reader_disarm(&x->reader);
  return boolean(env, sleep);
}

static napi_value cursor_heartbeat(napi_env env, napi_callback_info info) {
  cursor *x = cursor_of(env, arguments(env, info, 0, NULL));
  if (x && x->attached) dm_reader_heartbeat(&x->reader);
  return NULL;
}

/* bell(): a file descriptor of the caller's own that becomes readable when the producer rings; -1 without a row */
static napi_value cursor_bell(napi_env env, napi_callback_info info) {
  cursor *x = cursor_of(env, arguments(env, info, 0, NULL));
  return x ? integer(env, x->attached ? fcntl(x->reader.bell, F_DUPFD_CLOEXEC, 3) : -1) : NULL;
}

static napi_value close_cursor(napi_env env, napi_callback_info info) {
  cursor_close(arguments(env, info, 0, NULL));
  return NULL;
}

/* cursor(start, client, mode, blocking, attach, columnOffsets) */
static napi_value open_cursor(napi_env env, napi_callback_info info) {
  napi_value a[6], object;
  segment *s = segment_of(env, arguments(env, info, 6, a));
  if (!s) return NULL;
  char client[64];
  text(env, a[1], client, sizeof client);
  uint32_t column_offset[MAX_COLUMNS] = {0};
  if (!column_offsets(env, a[5], s->ring.record_schema, column_offset)) return fail(env, DM_E_ARGUMENT, "column offsets");
  cursor *x = calloc(1, sizeof *x);
  uint8_t *rows = malloc((size_t)(MAX_POLL + 4) * s->ring.record_size);
  if (!x || !rows) {
    free(x);
    free(rows);
    return fail(env, DM_E_NO_SPACE, "memory");
  }
  x->s = s;
  x->rows = rows;
  x->c.next = u64(env, a[0]);
  x->c.watch_dict = 1;
  memcpy(x->column_offset, column_offset, sizeof column_offset);
  if (u32(env, a[4])) {
    int result = dm_reader_attach(&x->reader, s->dirfd, s->name, s->owner, client, u32(env, a[2]), (int)u32(env, a[3]));
    if (result != DM_OK) {
      free(rows);
      free(x);
      return fail(env, result, "reader row");
    }
    x->attached = 1;
  }
  x->open = 1;
  x->base.close = cursor_close;
  s->users++;
  s->base.references++;
  napi_create_object(env, &object);
  x->control = control_block(env, object, &x->control_ref);
  cursor_control(x);
  if (x->attached) dm_reader_report(&x->reader, &x->c);
  set_number(env, object, "row", x->attached ? (double)x->reader.row : -1);
  method(env, object, "poll", cursor_poll, &x->base);
  method(env, object, "spin", cursor_spin, &x->base);
  method(env, object, "take", cursor_take, &x->base);
  method(env, object, "texts", cursor_texts, &x->base);
  method(env, object, "controls", cursor_controls, &x->base);
  method(env, object, "last", cursor_last, &x->base);
  method(env, object, "setFilter", cursor_filter, &x->base);
  method(env, object, "setKnown", cursor_known, &x->base);
  method(env, object, "setUntil", cursor_until, &x->base);
  method(env, object, "setEpoch", cursor_epoch, &x->base);
  method(env, object, "arm", cursor_arm, &x->base);
  method(env, object, "heartbeat", cursor_heartbeat, &x->base);
  method(env, object, "bell", cursor_bell, &x->base);
  method(env, object, "close", close_cursor, &x->base);
  return object;
}

/* openSegment(dir, name, owner) */
static napi_value open_segment(napi_env env, napi_callback_info info) {
  napi_value a[3], object;
  arguments(env, info, 3, a);
  char dir[4096], name[256], file[300];
  text(env, a[0], dir, sizeof dir);
  size_t length = text(env, a[1], name, sizeof name);
  uint32_t owner = u32(env, a[2]);
  if (length == 0 || length > DM_NAME_MAX || strchr(name, '/') || name[0] == '.') return fail(env, DM_E_ARGUMENT, "name");
  int dirfd = dm_directory_open(dir, owner, 0, 0);
  if (dirfd < 0) return fail(env, dirfd, "directory");
  segment *s = calloc(1, sizeof *s);
  if (!s) {
    close(dirfd);
    return fail(env, DM_E_NO_SPACE, "memory");
  }
  s->dirfd = dirfd;
  s->owner = owner;
  memcpy(s->name, name, length);
  snprintf(file, sizeof file, "%s.ring", name);
  int result = dm_ring_map(dirfd, file, owner, &s->ring, &s->fd);
  if (result == DM_OK) s->contexts = malloc((size_t)s->ring.dict_cap * 2);
  if (result == DM_OK && !s->contexts) {
    dm_ring_unmap(&s->ring, s->fd);
    result = DM_E_NO_SPACE;
  }
  if (result != DM_OK) {
    int saved = errno;
    close(dirfd);
    free(s);
    errno = saved;
    return fail(env, result, "ring");
  }
  memset(s->contexts, 0xff, (size_t)s->ring.dict_cap * 2);
  s->open = 1;
  s->base.close = segment_close;
  napi_create_object(env, &object);
  set_number(env, object, "recordSchema", s->ring.record_schema);
  set_number(env, object, "baseSeq", (double)s->ring.base_seq);
  set_number(env, object, "capacity", (double)s->ring.capacity);
  set_hex(env, object, "uuid", s->ring.uuid);
  set_hex(env, object, "previousUuid", s->ring.prev_uuid);
  method(env, object, "entries", segment_entries, &s->base);
  method(env, object, "alive", segment_alive, &s->base);
  method(env, object, "isCurrent", segment_current, &s->base);
  method(env, object, "epochStart", segment_epoch_start, &s->base);
  method(env, object, "oldest", segment_oldest, &s->base);
  method(env, object, "seekTime", segment_seek, &s->base);
  method(env, object, "info", segment_info, &s->base);
  method(env, object, "replays", segment_replays, &s->base);
  method(env, object, "cursor", open_cursor, &s->base);
  method(env, object, "close", close_segment, &s->base);
  return object;
}

/* ------------------------------------------------------------------------------------------------ care */

/* listReaders(dir, name, owner) */
static napi_value list_readers(napi_env env, napi_callback_info info) {
  napi_value a[3], list;
  arguments(env, info, 3, a);
  char dir[4096], name[256];
  text(env, a[0], dir, sizeof dir);
  text(env, a[1], name, sizeof name);
  uint32_t owner = u32(env, a[2]);
  int dirfd = dm_directory_open(dir, owner, 0, 0);
  if (dirfd < 0) return fail(env, dirfd, "directory");
  dm_row_info rows[DM_MAX_READERS];
  int count = dm_list_readers(dirfd, name, owner, rows, DM_MAX_READERS);
  close(dirfd);
  if (count < 0) return fail(env, count, "control file");
  napi_create_array(env, &list);
  for (int i = 0; i < count; i++) {
    napi_value o;
    const dm_reader_row *row = &rows[i].state;
    napi_create_object(env, &o);
    set_number(env, o, "row", rows[i].row);
    set(env, o, "alive", boolean(env, rows[i].alive));
    set_number(env, o, "pid", row->pid);
    set(env, o, "name", string(env, row->name, strnlen(row->name, sizeof row->name)));
    set_number(env, o, "readSeq", (double)row->read_seq);
    set_number(env, o, "delivered", (double)row->delivered);
    set_number(env, o, "suppressed", (double)row->suppressed);
    set_number(env, o, "gaps", (double)row->gaps);
    set_number(env, o, "lost", (double)row->lost);
    set_number(env, o, "mode", row->mode);
    set_number(env, o, "demoted", row->demoted);
    set_number(env, o, "startTimeMs", (double)row->start_time / 1e6);
    napi_set_element(env, list, (uint32_t)i, o);
  }
  return list;
}

/* clean(dir, name, olderThanMs, dryRun): dm_cleaning */
static napi_value clean(napi_env env, napi_callback_info info) {
  napi_value a[4];
  arguments(env, info, 4, a);
  char dir[4096], name[256];
  bool dry_run = false;
  text(env, a[0], dir, sizeof dir);
  text(env, a[1], name, sizeof name);
  napi_get_value_bool(env, a[3], &dry_run);
  int dirfd = dm_directory_open(dir, (uint32_t)geteuid(), 0, 0);
  if (dirfd < 0) return fail(env, dirfd, "directory");
  int result = dm_clean(dirfd, name, (uint64_t)(f64(env, a[2]) * 1e6), dry_run);
  close(dirfd);
  return result < 0 ? fail(env, result, "clean") : integer(env, result);
}

static napi_value init(napi_env env, napi_value exports) {
  const struct { const char *name; napi_callback call; } functions[] = {{"openProducer", open_producer},
                                                                        {"openSegment", open_segment},
                                                                        {"listReaders", list_readers},
                                                                        {"clean", clean}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value f;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &f);
    set(env, exports, functions[i].name, f);
  }
  set_number(env, exports, "abiMajor", DM_ABI_MAJOR);
  return exports;
}

NAPI_MODULE(dm_ring, init)
