/* A disk that cannot do what it is told it cannot: preloaded into a process, below the directory named by DISK.
   DISK_FLOCK and DISK_RENAME hold the error number that flock and rename give there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(const char *path, const char *variable) {
  const char *disk = getenv("DISK"), *number = getenv(variable);
  if (!disk || !number || !strstr(path, disk)) return 0;
  errno = atoi(number);
  return 1;
}

int flock(int descriptor, int operation) {
  char link[64], path[PATH_MAX + 1] = "";
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  if (readlink(link, path, PATH_MAX) > 0 && refused(path, "DISK_FLOCK")) return -1;
  return real(descriptor, operation);
}

int rename(const char *from, const char *to) {
  char path[PATH_MAX + 1] = "";
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  if (realpath(from, path) && refused(path, "DISK_RENAME")) return -1;
  return real(from, to);
}
