/* Producer, reader rows and care of the files; see ring.h. The protocol is described in dm_ring.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/types.h>
#include <time.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#else
#include <sys/random.h>
#endif

/* ------------------------------------------------------------------------------------------------ platform */

/* Locks belong to the open file, not to the process: a second opening in the same process is refused, too, and the kernel
   drops them however the holder dies. Where the platform has no such locks, flock has the same property for whole files;
   reader rows are then told apart by lock files of their own byte only as far as fcntl locks allow. */
static int dm_lock(int fd, off_t start, off_t length, int type, int query) {
#ifdef F_OFD_SETLK
  struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  if (!query) return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? DM_OK : errno == EAGAIN || errno == EACCES ? DM_E_BUSY : DM_E_SYSTEM;
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return DM_E_SYSTEM;
  return lock.l_type == F_UNLCK ? DM_OK : DM_E_BUSY;
#else
  struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  if (!query) return fcntl(fd, F_SETLK, &lock) == 0 ? DM_OK : errno == EAGAIN || errno == EACCES ? DM_E_BUSY : DM_E_SYSTEM;
  if (fcntl(fd, F_GETLK, &lock) != 0) return DM_E_SYSTEM;
  return lock.l_type == F_UNLCK ? DM_OK : DM_E_BUSY;
#endif
}

/* Takes the space now: without it the first touch of a page in a full /dev/shm is a SIGBUS. */
static int dm_reserve(int fd, off_t bytes) {
#ifdef __APPLE__
  fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, bytes, 0};
  if (fcntl(fd, F_PREALLOCATE, &store) != 0) return DM_E_NO_SPACE;
  return ftruncate(fd, bytes) == 0 ? DM_OK : DM_E_SYSTEM;
#else
  int result = posix_fallocate(fd, 0, bytes);
  errno = result;
  return result == 0 ? DM_OK : result == ENOSPC || result == EFBIG || result == ENOMEM ? DM_E_NO_SPACE : DM_E_SYSTEM;
#endif
}

static int dm_random(void *out, size_t length) {
#ifdef __APPLE__
  arc4random_buf(out, length);
  return DM_OK;
#else
  return getrandom(out, length, 0) == (ssize_t)length ? DM_OK : DM_E_SYSTEM;
#endif
}

static int dm_hex(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Identifies this run of the kernel: memory of another run is never continued. */
int dm_boot_id(uint8_t out[16]) {
  char text[64] = {0};
#ifdef __APPLE__
  size_t size = sizeof text - 1;
  if (sysctlbyname("kern.bootsessionuuid", text, &size, NULL, 0) != 0) return DM_E_SYSTEM;
#else
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return DM_E_SYSTEM;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got < 32) return DM_E_SYSTEM;
#endif
  memset(out, 0, 16);
  for (int i = 0, digit = 0; text[i] && digit < 32; i++) {
    int value = dm_hex(text[i]);
    if (value < 0) continue;
    out[digit / 2] = (uint8_t)(out[digit / 2] << 4 | value);
    digit++;
  }
  return DM_OK;
}

uint64_t dm_clock_ns(int wall) {
  struct timespec t;
#ifdef CLOCK_REALTIME_COARSE
  clock_gettime(wall ? CLOCK_REALTIME_COARSE : CLOCK_MONOTONIC_COARSE, &t);
#else
  clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
#endif
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static int dm_name_ok(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > DM_NAME_MAX || name[0] == '.') return 0;
  for (size_t i = 0; i < length; i++) {
    char c = name[i];
    int ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    if (!ok) return 0;
  }
  return 1;
}

typedef char dm_path[DM_NAME_MAX + 32];

static void dm_file(dm_path out, const char *name, const char *suffix) { snprintf(out, sizeof(dm_path), "%s%s", name, suffix); }
static void dm_bell_file(dm_path out, const char *name, uint32_t row) {
  snprintf(out, sizeof(dm_path), "%s.bell.%u", name, row);
}

/* Opens the directory of rings: a real directory, of the expected owner, writable by nobody else. */
int dm_directory_open(const char *dir, uint32_t owner, int create, int group) {
  if (create && mkdir(dir, group ? 0750 : 0700) != 0 && errno != EEXIST) return errno == ENOENT ? DM_E_MISSING : DM_E_SYSTEM;
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? DM_E_MISSING : errno == ELOOP || errno == ENOTDIR ? DM_E_OWNER : DM_E_SYSTEM;
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_uid != owner || (st.st_mode & 0022)) {
    close(fd);
    return DM_E_OWNER;
  }
  return fd;
}

/* ------------------------------------------------------------------------------------------------ segments */

static uint64_t dm_round_page(uint64_t bytes) { return (bytes + 4095) & ~4095ull; }

static uint64_t dm_power(uint64_t value) {
  uint64_t power = 1;
  while (power < value) power <<= 1;
  return power;
}

/* What a file may be used for by whom: with group bits in `mode`, by the group of the directory, whatever the group of this
   process is. */
static int dm_share(int dirfd, int fd, mode_t mode) {
  struct stat dir, file;
  if (fstat(dirfd, &dir) != 0 || fstat(fd, &file) != 0) return DM_E_SYSTEM;
  if ((mode & 0070) && file.st_gid != dir.st_gid && fchown(fd, (uid_t)-1, dir.st_gid) != 0) return DM_E_SYSTEM;
  return fchmod(fd, mode) == 0 ? DM_OK : DM_E_SYSTEM;
}

static mode_t dm_ring_mode(const dm_producer *p) { return p->options.group ? 0640 : 0600; }
static mode_t dm_ctl_mode(const dm_producer *p) { return p->options.group ? 0660 : 0600; }

/* A file of `bytes` zeroes under a temporary name in the directory. */
static int dm_temporary(int dirfd, const char *name, uint64_t bytes, mode_t mode, dm_path path) {
  uint64_t random;
  if (dm_random(&random, sizeof random) != DM_OK) return DM_E_SYSTEM;
  snprintf(path, sizeof(dm_path), ".%s.%016llx", name, (unsigned long long)random);
  int fd = openat(dirfd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return DM_E_SYSTEM;
  int result = dm_share(dirfd, fd, mode);
  if (result == DM_OK) result = dm_reserve(fd, (off_t)bytes);
  if (result == DM_OK) return fd;
  int saved = errno;
  unlinkat(dirfd, path, 0);
  close(fd);
  errno = saved;
  return result;
}

static void *dm_map_shared(int fd, uint64_t bytes) {
  int flags = MAP_SHARED;
#ifdef MAP_POPULATE
  flags |= MAP_POPULATE;
#endif
  void *base = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  return base == MAP_FAILED ? NULL : base;
}

static void dm_layout(dm_header *h, const dm_options *o) {
  h->abi_major = DM_ABI_MAJOR;
  h->abi_minor = DM_ABI_MINOR;
  h->header_bytes = DM_HEADER_BYTES;
  h->capacity = dm_power(o->capacity);
  h->record_schema = o->record_schema;
  h->record_size = o->record_schema == DM_SCHEMA_TRADES ? 64 : 128;
  h->time_interval = o->time_interval;
  /* One entry per interval for two laps, and room for an hour of entries made by the clock in a slow ring. */
  h->time_cap = (uint32_t)dm_power(2 * (h->capacity / o->time_interval + 1) + (h->capacity >= 65536 ? 4096 : 16));
  h->time_off = DM_HEADER_BYTES;
  h->dict_cap = o->dict_cap;
  h->dict_entry = DM_DICT_ENTRY;
  h->dict_off = dm_round_page(h->time_off + (uint64_t)h->time_cap * DM_TIME_ENTRY);
  h->data_off = dm_round_page(h->dict_off + (uint64_t)h->dict_cap * DM_DICT_ENTRY);
  h->total_bytes = dm_round_page(h->data_off + h->capacity * h->record_size);
}

/* Writes the identity of a new segment; `from` is the segment that it continues, or NULL: stretches of replay go on with it. */
static int dm_segment_init(uint8_t *base, const dm_header *layout, const dm_ring *from, uint64_t base_seq) {
  dm_header *h = (dm_header *)(void *)base;
  memcpy((uint8_t *)h + 8, (const uint8_t *)layout + 8, 120);
  h->base_seq = base_seq;
  if (dm_random(h->segment_uuid, 16) != DM_OK || dm_boot_id(h->boot_id) != DM_OK) return DM_E_SYSTEM;
  if (from) {
    memcpy(h->prev_uuid, from->uuid, 16);
    memcpy(h->replays, from->header->replays, sizeof h->replays);
    h->replay_count = from->header->replay_count;
  }
  h->header_crc = dm_header_crc(h);
  h->write_seq = base_seq;
  dm_store_release(&h->magic, DM_MAGIC);
  return DM_OK;
}

static void dm_begin_epoch(dm_producer *p, uint64_t epoch) {
  dm_header *h = p->header;
  dm_epoch *e = &h->epochs[epoch % DM_EPOCHS];
  dm_store(&e->first_seq, p->write_seq);
  dm_store_release(&e->epoch, epoch);
  h->producer_pid = (uint32_t)getpid();
  h->start_time = dm_clock_ns(1);
  p->epoch = epoch;
  dm_store_release(&h->epoch, epoch);
  dm_producer_heartbeat(p);
  dm_store_release(&h->state, DM_LIVE);
}

/* A producer that died in mid-batch left last_seq of some instruments at records it never committed; their slots will be
   given to others. Point them at their newest committed record again. */
static void dm_repair_last(dm_producer *p) {
  dm_dict_entry *dict = (dm_dict_entry *)(uintptr_t)p->ring.dict;
  uint64_t *broken = calloc((p->ring.dict_cap + 63) / 64, 8);
  uint32_t left = 0;
  for (uint32_t i = 0; i < p->dict_count; i++) {
    if (dict[i].last_seq <= p->write_seq) continue;
    dm_store_release(&dict[i].last_seq, 0);
    left++;
    if (broken) broken[i >> 6] |= 1ull << (i & 63);
  }
  p->repaired = left;
  uint64_t floor = p->write_seq > p->ring.capacity ? p->write_seq - p->ring.capacity : 0;
  for (uint64_t seq = p->write_seq; broken && left && seq > floor;) {
    uint64_t row[16] = {0};
    seq--;
    if (!dm_ring_copy(&p->ring, seq, row)) continue;
    const dm_tail *tail = dm_row_tail(row, p->ring.record_size);
    uint32_t i = tail->instrument;
    if ((tail->kind & 15) != DM_KIND_ROW || i >= p->dict_count || !(broken[i >> 6] >> (i & 63) & 1)) continue;
    dm_store_release(&dict[i].last_seq, seq + 1);
    broken[i >> 6] &= ~(1ull << (i & 63));
    left--;
  }
  free(broken);
}

static void dm_adopt(dm_producer *p, uint8_t *base, int fd) {
  p->base = base;
  p->header = (dm_header *)(void *)base;
  p->fd = fd;
  p->write_seq = p->header->write_seq;
  p->dict_count = dm_ring_dict_count(&p->ring);
  p->time_count = 0;
  for (uint32_t i = 0; i < p->ring.time_cap; i++) {
    uint64_t stamp = p->ring.times[i].stamp;
    if (stamp != DM_BUSY && stamp > p->time_count) p->time_count = stamp;
  }
  p->time_seq = p->time_ns = 0;
}

/* New segment under the ring's name. `replace`: the file there is locked by us and goes; else nothing may be there. */
static int dm_segment_create(dm_producer *p, const dm_ring *from, uint64_t base_seq, uint64_t epoch, int replace) {
  dm_header layout;
  memset(&layout, 0, sizeof layout);
  dm_layout(&layout, &p->options);
  dm_path temporary, path;
  int fd = dm_temporary(p->dirfd, p->name, layout.total_bytes, dm_ring_mode(p), temporary);
  if (fd < 0) return fd;
  int result = dm_lock(fd, 0, 0, F_WRLCK, 0);
  uint8_t *base = result == DM_OK ? dm_map_shared(fd, layout.total_bytes) : NULL;
  if (result == DM_OK) result = base ? dm_segment_init(base, &layout, from, base_seq) : DM_E_NO_SPACE;
  if (result == DM_OK) result = dm_ring_check(&p->ring, base, layout.total_bytes);
  dm_file(path, p->name, ".ring");
  if (result == DM_OK) {
    dm_adopt(p, base, fd);
    dm_begin_epoch(p, epoch);
    int moved = replace ? renameat(p->dirfd, temporary, p->dirfd, path) : linkat(p->dirfd, temporary, p->dirfd, path, 0);
    if (moved != 0) result = errno == EEXIST ? DM_E_BUSY : DM_E_SYSTEM;
  }
  int saved = errno;
  if (result != DM_OK || !replace) unlinkat(p->dirfd, temporary, 0);
  if (result != DM_OK) {
    if (base) munmap(base, (size_t)layout.total_bytes);
    close(fd);
    p->base = NULL;
    p->fd = -1;
  }
  errno = saved;
  return result;
}

static int dm_same_layout(const dm_ring *r, const dm_options *o) {
  dm_header wanted;
  memset(&wanted, 0, sizeof wanted);
  dm_layout(&wanted, o);
  return r->capacity == wanted.capacity && r->record_schema == wanted.record_schema && r->dict_cap == wanted.dict_cap &&
         r->time_interval == wanted.time_interval && r->bytes == wanted.total_bytes;
}

/* Continues, or retires, the file that is there. DM_E_MISSING: it vanished meanwhile, try again. */
static int dm_segment_take(dm_producer *p) {
  dm_path path;
  dm_file(path, p->name, ".ring");
  int fd = openat(p->dirfd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? DM_E_MISSING : errno == ELOOP ? DM_E_OWNER : DM_E_SYSTEM;
  struct stat st;
  int result = DM_E_SYSTEM;
  if (fstat(fd, &st) == 0)
    result = S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 0022) ? dm_lock(fd, 0, 0, F_WRLCK, 0) : DM_E_OWNER;
  if (result == DM_OK && !dm_is_current(p->dirfd, p->name, fd)) result = DM_E_MISSING;
  if (result == DM_OK) result = dm_share(p->dirfd, fd, dm_ring_mode(p));
  if (result != DM_OK) {
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
  }
  uint8_t boot[16];
  uint8_t *base = st.st_size >= (off_t)DM_HEADER_BYTES ? dm_map_shared(fd, (uint64_t)st.st_size) : NULL;
  int readable = base && dm_ring_check(&p->ring, base, (uint64_t)st.st_size) == DM_OK && dm_boot_id(boot) == DM_OK &&
                 memcmp(boot, ((dm_header *)(void *)base)->boot_id, 16) == 0;
  if (readable && dm_same_layout(&p->ring, &p->options) && ((dm_header *)(void *)base)->state != DM_RETIRED) {
    dm_adopt(p, base, fd);
    p->taken_over = 1;
    dm_repair_last(p);
    dm_producer_replay_end(p);
    dm_begin_epoch(p, p->header->epoch + 1);
    return DM_OK;
  }
  dm_ring old = p->ring;
  uint64_t base_seq = readable ? dm_ring_write_seq(&old) : 0;
  uint64_t epoch = readable ? dm_load(&old.header->epoch) + 1 : 1;
  result = dm_segment_create(p, readable ? &old : NULL, base_seq, epoch, 1);
  if (result == DM_OK) dm_producer_replay_end(p);
  /* Readers of the old file are told only now: what they find under the name is complete. */
  if (result == DM_OK && readable) dm_store_release(&((dm_header *)(void *)base)->state, DM_RETIRED);
  int saved = errno;
  if (base) munmap(base, (size_t)st.st_size);
  close(fd);
  errno = saved;
  return result;
}

/* ------------------------------------------------------------------------------------------------ control file and bells */

static int dm_ctl_open_existing(int dirfd, const char *name, uint32_t owner, int flags, struct stat *st) {
  dm_path path;
  dm_file(path, name, ".ctl");
  int fd = openat(dirfd, path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? DM_E_MISSING : errno == ELOOP ? DM_E_OWNER : DM_E_SYSTEM;
  int ok = fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_uid == owner && !(st->st_mode & 0002);
  if (ok && st->st_size == (off_t)DM_CTL_BYTES) return fd;
  close(fd);
  return ok ? DM_E_LAYOUT : DM_E_OWNER;
}

static int dm_ctl_ok(const dm_ctl_header *ctl) {
  return dm_load_acquire(&ctl->magic) == DM_CTL_MAGIC && ctl->abi_major == DM_ABI_MAJOR && ctl->readers == DM_MAX_READERS;
}

static dm_reader_row *dm_ctl_row(dm_ctl_header *ctl, uint32_t row) {
  return (dm_reader_row *)(void *)((uint8_t *)ctl + sizeof(dm_ctl_header) + (size_t)row * sizeof(dm_reader_row));
}

static off_t dm_row_offset(uint32_t row) { return (off_t)(sizeof(dm_ctl_header) + (size_t)row * sizeof(dm_reader_row)); }

static int dm_ctl_create(dm_producer *p) {
  dm_path temporary, path;
  int fd = dm_temporary(p->dirfd, p->name, DM_CTL_BYTES, dm_ctl_mode(p), temporary);
  if (fd < 0) return fd;
  dm_ctl_header *ctl = dm_map_shared(fd, DM_CTL_BYTES);
  dm_file(path, p->name, ".ctl");
  if (ctl) {
    ctl->abi_major = DM_ABI_MAJOR;
    ctl->abi_minor = DM_ABI_MINOR;
    ctl->readers = DM_MAX_READERS;
    dm_store_release(&ctl->magic, DM_CTL_MAGIC);
  }
  if (ctl && renameat(p->dirfd, temporary, p->dirfd, path) == 0) {
    p->ctl = ctl;
    p->ctl_fd = fd;
    return DM_OK;
  }
  int saved = errno;
  if (ctl) munmap(ctl, DM_CTL_BYTES);
  unlinkat(p->dirfd, temporary, 0);
  close(fd);
  errno = saved;
  return DM_E_SYSTEM;
}

/* Keeps the control file of an earlier producer, whose readers have it mapped, unless it is not what it should be. */
static int dm_ctl_open(dm_producer *p) {
  struct stat st;
  int fd = dm_ctl_open_existing(p->dirfd, p->name, geteuid(), O_RDWR, &st);
  if (fd >= 0) {
    dm_ctl_header *ctl = dm_map_shared(fd, DM_CTL_BYTES);
    if (ctl && dm_ctl_ok(ctl)) {
      p->ctl = ctl;
      p->ctl_fd = fd;
      return dm_share(p->dirfd, fd, dm_ctl_mode(p));
    }
    if (ctl) munmap(ctl, DM_CTL_BYTES);
    close(fd);
  }
  return dm_ctl_create(p);
}

static int dm_bells_create(dm_producer *p) {
  mode_t mode = dm_ctl_mode(p);
  struct stat dir;
  if (fstat(p->dirfd, &dir) != 0) return DM_E_SYSTEM;
  for (uint32_t n = 0; n < DM_MAX_READERS; n++) {
    dm_path path;
    struct stat st;
    dm_bell_file(path, p->name, n);
    if (fstatat(p->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
      int shared = !p->options.group || st.st_gid == dir.st_gid;
      if (S_ISFIFO(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 0777) == mode && shared) continue;
      unlinkat(p->dirfd, path, 0);
    }
    if (mkfifoat(p->dirfd, path, 0600) != 0) return errno == ENOSPC ? DM_E_NO_SPACE : DM_E_SYSTEM;
    int fd = openat(p->dirfd, path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    int result = fd < 0 ? DM_E_SYSTEM : dm_share(p->dirfd, fd, mode);
    if (fd >= 0) close(fd);
    if (result != DM_OK) return result;
  }
  return DM_OK;
}

static int dm_bell_open(int dirfd, const char *name, uint32_t row, uint32_t owner) {
  dm_path path;
  dm_bell_file(path, name, row);
  /* Both ends open for reading and writing: no end of file, no HUP, no SIGPIPE when the other side goes. */
  int fd = openat(dirfd, path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return DM_E_SYSTEM;
  struct stat st;
  if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_uid == owner) return fd;
  close(fd);
  return DM_E_OWNER;
}

/* Wakes the readers whose bits stand in `bits`, 64 rows from `first` on. A full FIFO is a bell that already rang. */
static void dm_ring_bells(dm_producer *p, uint64_t bits, uint32_t first) {
  while (bits) {
    uint32_t row = first + (uint32_t)__builtin_ctzll(bits);
    bits &= bits - 1;
    if (p->bells[row] < 0) p->bells[row] = dm_bell_open(p->dirfd, p->name, row, geteuid());
    if (p->bells[row] < 0) continue;
    ssize_t done = write(p->bells[row], "", 1);
    (void)done;
    p->wakes++;
  }
}

static void dm_wake_armed(dm_producer *p) {
  for (uint32_t w = 0; w < 2; w++) {
    if (dm_load(&p->ctl->armed[w]) == 0) continue;
    dm_ring_bells(p, __atomic_exchange_n(&p->ctl->armed[w], 0, __ATOMIC_SEQ_CST), w * 64);
  }
}

/* ------------------------------------------------------------------------------------------------ producer */

static int dm_has_readers(int dirfd, const char *name);
static void dm_unlink_all(int dirfd, const char *name);

static void dm_producer_free(dm_producer *p) {
  free(p->map_keys);
  free(p->map_values);
  free(p->publishers);
  free(p->resolved);
  p->map_keys = NULL;
  p->map_values = NULL;
  p->publishers = NULL;
  p->resolved = NULL;
  p->map_cap = p->map_size = p->publisher_contexts = p->resolved_cap = 0;
}

static int dm_options_ok(const dm_options *o) {
  return o->capacity >= DM_MIN_CAPACITY && o->capacity <= DM_MAX_CAPACITY && o->dict_cap >= 1 && o->dict_cap <= DM_DICT_MAX &&
         o->time_interval >= 1 && o->time_interval <= (1u << 24) && o->block_us <= 100000 &&
         (o->record_schema == DM_SCHEMA_TRADES || o->record_schema == DM_SCHEMA_QUOTES);
}

/* Opens the ring for writing: creates it, continues it after a restart, or replaces one that cannot be continued. The
   producer owns `dirfd` from here on, also when this fails. */
int dm_producer_open(dm_producer *p, int dirfd, const char *name, const dm_options *options) {
  memset(p, 0, sizeof *p);
  p->fd = p->ctl_fd = -1;
  p->dirfd = dirfd;
  for (uint32_t n = 0; n < DM_MAX_READERS; n++) p->bells[n] = -1;
  int result = dm_name_ok(name) && dm_options_ok(options) ? DM_E_MISSING : DM_E_ARGUMENT, created = 0;
  if (result == DM_E_MISSING) {
    memcpy(p->name, name, strlen(name) + 1);
    p->options = *options;
    /* Files may appear and vanish while we look; whoever holds the lock of the file under the name is the producer. */
    for (int tries = 0; tries < 8 && result == DM_E_MISSING; tries++) {
      result = dm_segment_take(p);
      if (result == DM_E_MISSING) {
        result = dm_segment_create(p, NULL, 0, 1, 0);
        created = result == DM_OK;
        if (result == DM_E_BUSY) result = DM_E_MISSING;
      }
    }
  }
  if (result == DM_OK) result = dm_ctl_open(p);
  if (result == DM_OK) result = dm_bells_create(p);
  if (result == DM_OK) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    dm_wake_armed(p); /* readers of the generation before sleep */
    return DM_OK;
  }
  int saved = errno;
  /* A ring that nobody can read, where there was none before, would only take the space that is missing. */
  if (created && !dm_has_readers(p->dirfd, p->name)) dm_unlink_all(p->dirfd, p->name);
  dm_producer_close(p);
  errno = saved;
  return result;
}

/* Retires the segment and goes on in a new one with an empty dictionary; sequences continue. */
int dm_producer_renew(dm_producer *p) {
  dm_ring old = p->ring;
  uint8_t *old_base = p->base;
  int old_fd = p->fd;
  uint64_t epoch = p->epoch + 1, write_seq = p->write_seq;
  int result = dm_segment_create(p, &old, write_seq, epoch, 1);
  if (result != DM_OK) {
    p->ring = old;
    p->base = old_base;
    p->header = (dm_header *)(void *)old_base;
    p->fd = old_fd;
    p->epoch = epoch - 1;
    p->write_seq = write_seq;
    p->dict_count = dm_ring_dict_count(&old);
    return result;
  }
  dm_store_release(&((dm_header *)(void *)old_base)->state, DM_RETIRED);
  munmap(old_base, (size_t)old.bytes);
  close(old_fd);
  memset(p->map_values, 0, (size_t)p->map_cap * sizeof *p->map_values);
  p->map_size = 0;
  if (p->publishers) memset(p->publishers, 0, (size_t)p->publisher_contexts * 8192);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  dm_wake_armed(p);
  return DM_OK;
}

/* Ends the generation in order. The files stay: readers drain them, the next producer continues them. */
void dm_producer_close(dm_producer *p) {
  if (p->base) {
    dm_producer_heartbeat(p);
    dm_producer_replay_end(p);
    dm_store_release(&p->header->state, DM_CLOSED);
  }
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
  if (p->ctl) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    dm_wake_armed(p);
    munmap(p->ctl, DM_CTL_BYTES);
  }
  p->ctl = NULL;
  if (p->ctl_fd >= 0) close(p->ctl_fd);
  p->ctl_fd = -1;
  if (p->base) munmap(p->base, (size_t)p->ring.bytes);
  p->base = NULL;
  for (uint32_t n = 0; n < DM_MAX_READERS; n++) {
    if (p->bells[n] >= 0) close(p->bells[n]);
    p->bells[n] = -1;
  }
  if (p->dirfd >= 0) close(p->dirfd);
  p->dirfd = -1;
  dm_producer_free(p);
}

void dm_producer_heartbeat(dm_producer *p) {
  dm_store(&p->header->wall_ns, dm_clock_ns(1));
  dm_store_release(&p->header->heartbeat_ns, dm_clock_ns(0));
}

/* History and ring join here; never moves backwards, never beyond what is published. */
void dm_producer_durable(dm_producer *p, uint64_t seq) {
  if (seq > p->write_seq) seq = p->write_seq;
  if (seq > dm_load(&p->header->durable_seq)) dm_store_release(&p->header->durable_seq, seq);
}

void dm_producer_replay_end(dm_producer *p) {
  uint64_t number = p->header->replay_count;
  dm_replay *e = &p->header->replays[number % DM_REPLAYS];
  if (number && e->number == number && e->end_seq == UINT64_MAX) dm_store_release(&e->end_seq, p->write_seq);
}

void dm_producer_replay(dm_producer *p, int64_t start, int64_t end, uint32_t speed_milli, uint32_t cause) {
  dm_producer_replay_end(p);
  uint64_t number = p->header->replay_count + 1;
  dm_replay *e = &p->header->replays[number % DM_REPLAYS];
  dm_store(&e->number, 0);
  __atomic_thread_fence(__ATOMIC_RELEASE); /* nobody takes the fields of this stretch for those of the one before */
  dm_store(&e->first_seq, p->write_seq);
  dm_store(&e->end_seq, UINT64_MAX);
  dm_store(&e->start, start);
  dm_store(&e->end, end);
  dm_store(&e->speed_milli, speed_milli);
  dm_store(&e->cause, cause);
  dm_store_release(&e->number, number);
  dm_store_release(&p->header->replay_count, number);
}

uint32_t dm_producer_connections(dm_producer *p) {
  uint32_t count = 0;
  for (uint32_t n = 0; n < DM_MAX_READERS; n++)
    /* a row that nobody has ever filled is not worth a system call */
    count += dm_load(&dm_ctl_row(p->ctl, n)->start_time) != 0 && dm_lock(p->ctl_fd, dm_row_offset(n), sizeof(dm_reader_row), F_WRLCK, 1) == DM_E_BUSY;
  return count;
}

/* ------------------------------------------------------------------------------------------------ dictionary */

static uint32_t dm_hash(uint64_t key) {
  key *= 0x9e3779b97f4a7c15ull;
  return (uint32_t)(key >> 32);
}

static uint32_t dm_map_slot(const dm_producer *p, uint64_t key) {
  uint32_t mask = p->map_cap - 1, slot = dm_hash(key) & mask;
  while (p->map_values[slot] && p->map_keys[slot] != key) slot = (slot + 1) & mask;
  return slot;
}

static int dm_map_grow(dm_producer *p) {
  uint32_t old_cap = p->map_cap;
  uint64_t *old_keys = p->map_keys;
  uint32_t *old_values = p->map_values;
  uint32_t cap = old_cap ? old_cap * 2 : 1024;
  uint64_t *keys = calloc(cap, sizeof *keys);
  uint32_t *values = calloc(cap, sizeof *values);
  if (!keys || !values) {
    free(keys);
    free(values);
    return DM_E_NO_SPACE;
  }
  p->map_keys = keys;
  p->map_values = values;
  p->map_cap = cap;
  for (uint32_t i = 0; i < old_cap; i++) {
    if (!old_values[i]) continue;
    uint32_t slot = dm_map_slot(p, old_keys[i]);
    keys[slot] = old_keys[i];
    values[slot] = old_values[i];
  }
  free(old_keys);
  free(old_values);
  return DM_OK;
}

int dm_dict_bind(dm_producer *p, uint32_t context, uint32_t native_id, uint32_t index) {
  if (index >= p->dict_count || context > 0xffff) return DM_E_ARGUMENT;
  if (p->map_size * 2 >= p->map_cap && dm_map_grow(p) != DM_OK) return DM_E_NO_SPACE;
  uint64_t key = (uint64_t)context << 32 | native_id;
  uint32_t slot = dm_map_slot(p, key);
  if (!p->map_values[slot]) p->map_size++;
  p->map_keys[slot] = key;
  p->map_values[slot] = index + 1;
  return DM_OK;
}

int dm_publisher_bind(dm_producer *p, uint32_t context, uint32_t publisher) {
  if (context >= 4096 || publisher > 0xffff) return DM_E_ARGUMENT;
  if (context >= p->publisher_contexts) {
    uint64_t *grown = realloc(p->publishers, (size_t)(context + 1) * 8192);
    if (!grown) return DM_E_NO_SPACE;
    memset((uint8_t *)grown + (size_t)p->publisher_contexts * 8192, 0, (size_t)(context + 1 - p->publisher_contexts) * 8192);
    p->publishers = grown;
    p->publisher_contexts = context + 1;
  }
  p->publishers[(size_t)context * 1024 + publisher / 64] |= 1ull << (publisher & 63);
  return DM_OK;
}

/* Appends an entry and returns its index. Readers see it before any record that refers to it. */
int dm_dict_add(dm_producer *p, const dm_entry_text *t) {
  if (t->symbol_length + t->provider_length + t->exchange_length > DM_TEXT_MAX || t->dataset_length > t->symbol_length)
    return DM_E_ARGUMENT;
  if (p->dict_count >= p->ring.dict_cap) return DM_E_FULL;
  dm_dict_entry *e = (dm_dict_entry *)(uintptr_t)&p->ring.dict[p->dict_count];
  memset(e, 0, sizeof *e);
  e->native_id = t->native_id;
  e->type = t->type;
  e->key_kind = t->key_kind;
  e->price_scale = t->price_scale;
  e->size_scale = t->size_scale;
  e->asset_class = t->asset_class;
  e->context = t->context;
  e->publisher = t->publisher;
  e->dataset_length = (uint8_t)t->dataset_length;
  e->symbol_length = (uint8_t)t->symbol_length;
  e->provider_length = (uint8_t)t->provider_length;
  memcpy(e->text, t->symbol, t->symbol_length);
  memcpy(e->text + t->symbol_length, t->provider, t->provider_length);
  memcpy(e->text + t->symbol_length + t->provider_length, t->exchange, t->exchange_length);
  dm_store_release(&p->header->dict_count, ++p->dict_count);
  return (int)p->dict_count - 1;
}

int dm_resolve(dm_producer *p, uint32_t context, const uint32_t *instrument, const uint16_t *publisher, uint32_t rows,
               uint32_t *misses, uint32_t miss_cap) {
  if (rows > p->resolved_cap) {
    uint16_t *grown = realloc(p->resolved, (size_t)rows * sizeof *grown);
    if (!grown) return DM_E_NO_SPACE;
    p->resolved = grown;
    p->resolved_cap = rows;
  }
  if (!p->map_cap && dm_map_grow(p) != DM_OK) return DM_E_NO_SPACE;
  const uint64_t *named = context < p->publisher_contexts ? p->publishers + (size_t)context * 1024 : NULL;
  uint32_t missing = 0, last_id = ~instrument[0], last_index = 0;
  for (uint32_t i = 0; i < rows && missing < miss_cap; i++) {
    if (instrument[i] != last_id) {
      uint32_t found = p->map_values[dm_map_slot(p, (uint64_t)context << 32 | instrument[i])];
      if (!found) {
        misses[missing++] = i;
        continue;
      }
      last_id = instrument[i];
      last_index = found - 1;
    }
    uint32_t source = publisher[i];
    if (!named || !(named[source >> 6] >> (source & 63) & 1)) misses[missing++] = i;
    p->resolved[i] = (uint16_t)last_index;
  }
  return (int)missing;
}

/* ------------------------------------------------------------------------------------------------ publishing */

static inline dm_word *dm_slot_begin(dm_producer *p, uint64_t seq) {
  dm_word *slot = (dm_word *)(uintptr_t)dm_ring_slot(&p->ring, seq);
  dm_store(&slot[0], DM_BUSY);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  return slot;
}

static inline void dm_slot_end(dm_word *slot, uint64_t seq) { dm_store_release(&slot[0], seq + 1); }

/* Two words that end every slot. */
static inline void dm_put_tail(dm_word *at, uint32_t instrument, uint32_t publisher, int32_t delta, int8_t price_exponent,
                               int8_t size_exponent, uint32_t kind, uint8_t flags, uint32_t depth, uint64_t back) {
  dm_store(&at[0], (uint64_t)instrument | (uint64_t)publisher << 16 | (uint64_t)(uint32_t)delta << 32);
  dm_store(&at[1], (uint64_t)(uint8_t)price_exponent | (uint64_t)(uint8_t)size_exponent << 8 | (uint64_t)kind << 16 |
                       (uint64_t)flags << 24 | (uint64_t)depth << 32 | back << 40);
}

/* Distance to the instrument's previous row, 0 where it is out of reach. */
static inline uint64_t dm_back(const dm_producer *p, const dm_dict_entry *entry, uint64_t seq) {
  uint64_t last = entry->last_seq;
  uint64_t back = last ? seq + 1 - last : 0;
  return back < p->ring.capacity ? back : 0;
}

static void dm_index_time(dm_producer *p, uint64_t seq) {
  uint64_t now = dm_clock_ns(1);
  if (p->time_ns != 0 && seq - p->time_seq < p->ring.time_interval && now - p->time_ns < 1000000000ull) return;
  dm_time_entry *e = (dm_time_entry *)(uintptr_t)&p->ring.times[p->time_count & (p->ring.time_cap - 1)];
  dm_store(&e->stamp, DM_BUSY);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  dm_store(&e->seq, seq);
  dm_store(&e->publish_ns, now);
  dm_store_release(&e->stamp, ++p->time_count);
  p->time_seq = seq;
  p->time_ns = now;
}

/* Makes records before `seq` visible and wakes sleeping readers. */
static void dm_commit(dm_producer *p, uint64_t seq) {
  p->write_seq = seq;
  dm_store_release(&p->header->write_seq, seq);
  /* Orders the store above before the loads of `armed`: a reader that armed itself and saw the old write_seq is woken. */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  dm_wake_armed(p);
}

/* Waits, at most block_us in all, until no blocking reader would be overtaken by `slots` more records. */
static void dm_wait_for_readers(dm_producer *p, uint32_t slots) {
  if (p->options.block_us == 0) return;
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (uint32_t row = 0; row < DM_MAX_READERS; row++) {
    uint64_t bit = 1ull << (row & 63), *word = &p->ctl->blocking[row >> 6];
    if (!(dm_load_acquire(word) & bit)) continue;
    dm_reader_row *reader = dm_ctl_row(p->ctl, row);
    uint64_t room = p->ring.capacity - p->ring.capacity / 8;
    if (p->write_seq + slots <= dm_load_acquire(&reader->read_seq) + room) continue;
    int alive = dm_lock(p->ctl_fd, dm_row_offset(row), sizeof(dm_reader_row), F_WRLCK, 1) == DM_E_BUSY;
    while (alive && p->write_seq + slots > dm_load_acquire(&reader->read_seq) + room) {
      clock_gettime(CLOCK_MONOTONIC, &now);
      int64_t waited = (now.tv_sec - start.tv_sec) * 1000000ll + (now.tv_nsec - start.tv_nsec) / 1000;
      if (waited >= (int64_t)p->options.block_us) {
        alive = 0;
        __atomic_fetch_add(&reader->demoted, 1, __ATOMIC_RELEASE);
        p->demotions++;
      } else {
        struct timespec pause = {0, 20000};
        nanosleep(&pause, NULL);
      }
    }
    if (!alive) __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
  }
}

/* How many rows from `i` on go into one commit: a quarter of the ring at most, so that readers can follow. */
static uint32_t dm_chunk(const dm_producer *p, uint32_t i, uint32_t rows) {
  uint64_t most = p->ring.capacity / 4;
  return rows - i > most ? (uint32_t)most : rows - i;
}

static uint64_t dm_put_text(dm_producer *p, uint64_t seq, uint32_t instrument, const uint8_t *text, uint32_t length) {
  while (length) {
    uint32_t part = length > 40 ? 40 : length;
    uint64_t words[5] = {0};
    memcpy(words, text, part);
    dm_word *slot = dm_slot_begin(p, seq);
    for (int k = 0; k < 5; k++) dm_store(&slot[k + 1], words[k]);
    dm_put_tail(&slot[6], instrument, 0, 0, 0, 0, DM_KIND_TEXT, (uint8_t)part, 0, 0);
    dm_slot_end(slot, seq++);
    text += part;
    length -= part;
  }
  return seq;
}

void dm_publish_trades(dm_producer *p, const dm_trade_columns *c, uint32_t rows) {
  const uint8_t *text = c->text;
  dm_dict_entry *dict = (dm_dict_entry *)(uintptr_t)p->ring.dict;
  for (uint32_t i = 0; i < rows;) {
    /* With text ids every row may take four slots. */
    uint32_t end = i + dm_chunk(p, i, rows);
    if (text) end = i + (dm_chunk(p, i, rows) + 3) / 4;
    dm_wait_for_readers(p, (end - i) * (text ? 4 : 1));
    uint64_t seq = p->write_seq;
    dm_index_time(p, seq);
    for (; i < end; i++) {
      uint32_t length = text ? c->text_length[i] : 0;
      uint32_t instrument = p->resolved[i];
      uint64_t back = dm_back(p, &dict[instrument], seq);
      dm_word *slot = dm_slot_begin(p, seq);
      dm_store(&slot[1], (uint64_t)c->price[i]);
      dm_store(&slot[2], (uint64_t)c->size[i]);
      dm_store(&slot[3], (uint64_t)c->ts_event[i]);
      dm_store(&slot[4], (uint64_t)c->ts_recv[i]);
      dm_store(&slot[5], (uint64_t)c->trade_key[i]);
      dm_put_tail(&slot[6], instrument, c->publisher[i], c->ts_in_delta[i], c->price_exponent[i], c->size_exponent[i],
                  DM_KIND_ROW | (uint32_t)(c->side[i] & 3) << 4 | (length + 39) / 40 << 6, c->flags[i], c->depth[i], back);
      dm_slot_end(slot, seq);
      dm_store_release(&dict[instrument].last_seq, seq + 1);
      seq++;
      if (length) {
        seq = dm_put_text(p, seq, instrument, text, length);
        text += length;
      }
    }
    dm_commit(p, seq);
  }
}

void dm_publish_quotes(dm_producer *p, const dm_quote_columns *c, uint32_t rows) {
  dm_dict_entry *dict = (dm_dict_entry *)(uintptr_t)p->ring.dict;
  for (uint32_t i = 0; i < rows;) {
    uint32_t end = i + dm_chunk(p, i, rows);
    dm_wait_for_readers(p, end - i);
    uint64_t seq = p->write_seq;
    dm_index_time(p, seq);
    for (; i < end; i++, seq++) {
      uint32_t instrument = p->resolved[i];
      uint64_t back = dm_back(p, &dict[instrument], seq);
      dm_word *slot = dm_slot_begin(p, seq);
      dm_store(&slot[1], (uint64_t)c->bid_price[i]);
      dm_store(&slot[2], (uint64_t)c->ask_price[i]);
      dm_store(&slot[3], (uint64_t)c->ts_event[i]);
      dm_store(&slot[4], (uint64_t)c->ts_recv[i]);
      dm_store(&slot[5], (uint64_t)c->quote_key[i]);
      dm_store(&slot[6], (uint64_t)c->price[i]);
      dm_store(&slot[7], (uint64_t)c->size[i]);
      dm_store(&slot[8], (uint64_t)c->bid_size[i]);
      dm_store(&slot[9], (uint64_t)c->ask_size[i]);
      dm_store(&slot[10], (uint64_t)c->bid_count[i] | (uint64_t)c->ask_count[i] << 32);
      dm_store(&slot[11], (uint64_t)c->bid_publisher[i] | (uint64_t)c->ask_publisher[i] << 16 | (uint64_t)c->schema[i] << 32 |
                              (uint64_t)c->action[i] << 40);
      dm_store(&slot[12], 0);
      dm_store(&slot[13], 0);
      dm_put_tail(&slot[14], instrument, c->publisher[i], c->ts_in_delta[i], c->price_exponent[i], c->size_exponent[i],
                  DM_KIND_ROW | (uint32_t)(c->side[i] & 3) << 4, c->flags[i], c->depth[i], back);
      dm_slot_end(slot, seq);
      dm_store_release(&dict[instrument].last_seq, seq + 1);
    }
    dm_commit(p, seq);
  }
}

/* One control record; the tail's instrument, publisher (schema) and flags (cause) are those of `gap` itself. */
void dm_publish_gap(dm_producer *p, const dm_gap_record *gap) {
  uint64_t words[16] = {0}, seq = p->write_seq;
  const dm_tail *tail = (const dm_tail *)(const void *)((const uint8_t *)gap + 48);
  memcpy(words, gap, 48);
  dm_wait_for_readers(p, 1);
  dm_word *slot = dm_slot_begin(p, seq);
  uint32_t tail_at = p->ring.record_size / 8 - 2;
  for (uint32_t k = 1; k < tail_at; k++) dm_store(&slot[k], words[k < 6 ? k : 6]);
  dm_put_tail(&slot[tail_at], tail->instrument, tail->publisher, 0, 0, 0, DM_KIND_CONTROL, tail->flags, 0, 0);
  dm_slot_end(slot, seq);
  dm_commit(p, seq + 1);
}

/* ------------------------------------------------------------------------------------------------ reader rows */

static void dm_row_fill(dm_reader_row *row, const char *client, uint32_t mode, int blocking) {
  memset(row, 0, sizeof *row);
  row->pid = (uint32_t)getpid();
  row->mode = mode;
  row->start_time = dm_clock_ns(1);
  row->heartbeat_ns = dm_clock_ns(0);
  row->blocking = blocking ? 1 : 0;
  strncpy(row->name, client, sizeof row->name - 1);
}

/* Takes a free row: the lock on its bytes is what makes it ours. */
int dm_reader_attach(dm_reader *a, int dirfd, const char *name, uint32_t owner, const char *client, uint32_t mode,
                     int blocking) {
  struct stat st;
  memset(a, 0, sizeof *a);
  a->bell = -1;
  a->ctl_fd = dm_ctl_open_existing(dirfd, name, owner, O_RDWR, &st);
  if (a->ctl_fd < 0) return a->ctl_fd;
  a->ctl_inode = (uint64_t)st.st_ino;
  a->ctl = dm_map_shared(a->ctl_fd, DM_CTL_BYTES);
  int result = !a->ctl ? DM_E_SYSTEM : dm_ctl_ok(a->ctl) ? DM_E_FULL : DM_E_LAYOUT;
  for (uint32_t n = 0; n < DM_MAX_READERS && result == DM_E_FULL; n++) {
    if (dm_lock(a->ctl_fd, dm_row_offset(n), sizeof(dm_reader_row), F_WRLCK, 0) != DM_OK) continue;
    a->row = n;
    a->state = dm_ctl_row(a->ctl, n);
    dm_reader_disarm(a);
    __atomic_fetch_and(&a->ctl->blocking[n >> 6], ~(1ull << (n & 63)), __ATOMIC_SEQ_CST);
    dm_row_fill(a->state, client, mode, blocking);
    a->bell = dm_bell_open(dirfd, name, n, owner);
    result = a->bell < 0 ? a->bell : DM_OK;
  }
  if (result == DM_OK) {
    char rest[256];
    while (read(a->bell, rest, sizeof rest) > 0) {} /* bells of the reader before */
    return DM_OK;
  }
  int saved = errno;
  dm_reader_detach(a);
  errno = saved;
  return result;
}

/* A blocking reader is waited for only from its first report on: before, its row has no place to wait for. */
void dm_reader_report(dm_reader *a, const dm_cursor *c) {
  dm_reader_row *row = a->state;
  dm_store(&row->gaps, c->gaps);
  dm_store(&row->lost, c->lost);
  dm_store(&row->delivered, c->delivered);
  dm_store(&row->suppressed, c->suppressed);
  dm_store_release(&row->read_seq, c->next);
  if (row->blocking == 1) {
    row->blocking = 2;
    __atomic_fetch_or(&a->ctl->blocking[a->row >> 6], 1ull << (a->row & 63), __ATOMIC_SEQ_CST);
  }
}

void dm_reader_heartbeat(dm_reader *a) { dm_store(&a->state->heartbeat_ns, dm_clock_ns(0)); }

/* After this, read write_seq again; sleep on the bell only if there is still nothing. */
void dm_reader_arm(dm_reader *a) {
  __atomic_fetch_or(&a->ctl->armed[a->row >> 6], 1ull << (a->row & 63), __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void dm_reader_disarm(dm_reader *a) {
  __atomic_fetch_and(&a->ctl->armed[a->row >> 6], ~(1ull << (a->row & 63)), __ATOMIC_SEQ_CST);
}

void dm_reader_detach(dm_reader *a) {
  if (a->state) {
    dm_reader_disarm(a);
    __atomic_fetch_and(&a->ctl->blocking[a->row >> 6], ~(1ull << (a->row & 63)), __ATOMIC_SEQ_CST);
  }
  if (a->ctl) munmap(a->ctl, DM_CTL_BYTES);
  if (a->ctl_fd >= 0) close(a->ctl_fd);
  if (a->bell >= 0) close(a->bell);
  memset(a, 0, sizeof *a);
  a->ctl_fd = a->bell = -1;
}

/* ------------------------------------------------------------------------------------------------ care */

int dm_producer_alive(int ring_fd) { return dm_lock(ring_fd, 0, 0, F_RDLCK, 1) == DM_E_BUSY; }

int dm_is_current(int dirfd, const char *name, int ring_fd) {
  dm_path path;
  struct stat mine, now;
  dm_file(path, name, ".ring");
  if (fstat(ring_fd, &mine) != 0 || fstatat(dirfd, path, &now, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  return mine.st_ino == now.st_ino && mine.st_dev == now.st_dev;
}

int dm_list_readers(int dirfd, const char *name, uint32_t owner, dm_row_info *out, uint32_t cap) {
  struct stat st;
  if (!dm_name_ok(name)) return DM_E_ARGUMENT;
  int fd = dm_ctl_open_existing(dirfd, name, owner, O_RDONLY, &st);
  if (fd < 0) return fd == DM_E_MISSING ? 0 : fd;
  uint32_t count = 0;
  for (uint32_t n = 0; n < DM_MAX_READERS && count < cap; n++) {
    dm_reader_row row;
    if (pread(fd, &row, sizeof row, dm_row_offset(n)) != (ssize_t)sizeof row || row.start_time == 0) continue;
    row.name[sizeof row.name - 1] = 0;
    int alive = dm_lock(fd, dm_row_offset(n), sizeof(dm_reader_row), F_RDLCK, 1) == DM_E_BUSY;
    out[count++] = (dm_row_info){.row = n, .alive = alive, .state = row};
  }
  close(fd);
  return (int)count;
}

/* What becomes of a ring whose lease is free. The other fields of a header whose checksum is wrong say nothing. */
static dm_cleaning dm_judge(const dm_header *h, uint64_t older_than_ns) {
  uint8_t boot[16];
  if (h->magic == 0) return DM_GONE_UNFINISHED;
  if (h->magic != DM_MAGIC) return DM_KEPT_FOREIGN;
  if (h->header_crc != dm_header_crc(h)) return DM_GONE_DAMAGED;
  if (dm_boot_id(boot) == DM_OK && memcmp(boot, h->boot_id, 16) != 0) return DM_GONE_OTHER_BOOT;
  if (h->state == DM_CLOSED) return DM_GONE_CLOSED;
  if (h->state == DM_RETIRED) return DM_GONE_RETIRED;
  uint64_t now = dm_clock_ns(0);
  return now > h->heartbeat_ns && now - h->heartbeat_ns > older_than_ns ? DM_GONE_SILENT : DM_KEPT_YOUNG;
}

static int dm_has_readers(int dirfd, const char *name) {
  dm_row_info rows[DM_MAX_READERS];
  int count = dm_list_readers(dirfd, name, geteuid(), rows, DM_MAX_READERS), alive = 0;
  for (int i = 0; i < count; i++) alive |= rows[i].alive;
  return alive;
}

static void dm_unlink_all(int dirfd, const char *name) {
  dm_path path;
  dm_file(path, name, ".ring");
  unlinkat(dirfd, path, 0);
  dm_file(path, name, ".ctl");
  unlinkat(dirfd, path, 0);
  for (uint32_t n = 0; n < DM_MAX_READERS; n++) {
    dm_bell_file(path, name, n);
    unlinkat(dirfd, path, 0);
  }
}

int dm_clean(int dirfd, const char *name, uint64_t older_than_ns, int dry_run) {
  dm_path path;
  if (!dm_name_ok(name)) return DM_E_ARGUMENT;
  dm_file(path, name, ".ring");
  int fd = openat(dirfd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? DM_E_MISSING : errno == ELOOP ? DM_E_OWNER : DM_E_SYSTEM;
  struct stat st;
  int result = fstat(fd, &st) != 0 ? DM_E_SYSTEM : S_ISREG(st.st_mode) && st.st_uid == geteuid() ? DM_OK : DM_E_OWNER;
  /* With the lock in hand no producer can start on this file; with the name checked, no other file goes. */
  if (result == DM_OK) result = dm_lock(fd, 0, 0, F_WRLCK, dry_run);
  if (result == DM_E_BUSY || (result == DM_OK && !dm_is_current(dirfd, name, fd))) result = DM_KEPT_LIVE;
  else if (result == DM_OK) {
    dm_header header;
    memset(&header, 0, sizeof header);
    result = pread(fd, &header, sizeof header, 0) < 0 ? DM_E_SYSTEM : (int)dm_judge(&header, older_than_ns);
    if (result >= DM_GONE_UNFINISHED && dm_has_readers(dirfd, name)) result = DM_KEPT_READERS;
    if (result >= DM_GONE_UNFINISHED && !dry_run) dm_unlink_all(dirfd, name);
  }
  close(fd);
  return result;
}
