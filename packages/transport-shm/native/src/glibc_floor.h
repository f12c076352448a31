/*
 * Included before every source of the addon (see build.mjs), so that a binary made on a new system loads on old ones.
 * glibc 2.33 turned fstat and fstatat into symbols of its own; their structure is the kernel's on 64-bit machines, so the
 * addon asks the kernel itself and needs nothing newer than glibc 2.28.
 */
#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int dm_kernel_fstat(int fd, struct stat *out) { return (int)syscall(SYS_fstat, fd, out); }
static inline int dm_kernel_fstatat(int dirfd, const char *path, struct stat *out, int flags) {
  return (int)syscall(SYS_newfstatat, dirfd, path, out, flags);
}
#define fstat(fd, out) dm_kernel_fstat(fd, out)
#define fstatat(dirfd, path, out, flags) dm_kernel_fstatat(dirfd, path, out, flags)
#endif
