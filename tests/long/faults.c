/*
 * Makes file operations of a server fail, one chosen call at a time.
 *
 * Preloaded into the server, it looks at the calls of the C library on files below the folder FAULTS_FOLDER. Which call
 * fails, how, and for how long, a drill writes into the file FAULTS_CONTROL, which both have mapped (faults.py): so one
 * running server goes through every place, and the fault ends without a restart.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Kinds of calls, a bit each; faults.py has the same. */
enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, LOCK = 8, UNLOCK = 16, OPEN = 32, READ = 64, MAP = 128, UNLINK = 256 };
/* Kinds of files. */
enum { DATABASE = 1, LOG = 2, INDEX = 4, OTHER = 8 };
/* Where the error is kept when a call is left alone. */
#define NO_ERROR 0
#define MAX_DESCRIPTORS 65536

struct control {
    uint32_t armed;
    uint32_t calls;
    uint32_t files;
    uint32_t error;
    /* Whether every matching call fails from that place on, not only the one. */
    uint32_t lasting;
    /* The place: the so many-th matching call, from 1. */
    uint32_t place;
    /* Matching calls since the last change of `armed`, and how many of them failed. */
    uint32_t matched;
    uint32_t failed;
};

static struct control *control;
static char folder[PATH_MAX];
static size_t folder_length;
static unsigned char kinds[MAX_DESCRIPTORS];

__attribute__((constructor)) static void prepare(void)
{
    const char *path = getenv("FAULTS_CONTROL"), *below = getenv("FAULTS_FOLDER");
    if (path == NULL || below == NULL)
        return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED)
        return;
    folder_length = strlen(below);
    memcpy(folder, below, folder_length < sizeof folder ? folder_length + 1 : 0);
    control = map;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static unsigned char kind_of(const char *path)
{
    if (control == NULL || path == NULL || strncmp(path, folder, folder_length) != 0)
        return 0;
    if (ends_with(path, ".db"))
        return DATABASE;
    if (ends_with(path, "-wal"))
        return LOG;
    if (ends_with(path, "-shm"))
        return INDEX;
    return OTHER;
}

static unsigned char kind_of_descriptor(int file)
{
    return file >= 0 && file < MAX_DESCRIPTORS ? kinds[file] : 0;
}

/* The error that this call is to fail with. */
static int fault(unsigned char kind, uint32_t call)
{
    if (control == NULL || kind == 0 || !__atomic_load_n(&control->armed, __ATOMIC_ACQUIRE))
        return NO_ERROR;
    if (!(control->files & kind) || !(control->calls & call))
        return NO_ERROR;
    uint32_t number = __atomic_add_fetch(&control->matched, 1, __ATOMIC_ACQ_REL);
    if (number < control->place || (number > control->place && !control->lasting))
        return NO_ERROR;
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_ACQ_REL);
    return (int)control->error;
}

/* The C library's own function of this name. */
#define NEXT(type, name) \
    static __typeof__(type) real; \
    if (real == NULL) \
        real = (type)dlsym(RTLD_NEXT, name)

/* Leaves with the error where there is one. */
#define FAIL(kind, call, answer) \
    do { \
        int error = fault(kind, call); \
        if (error != NO_ERROR) { \
            errno = error; \
            return answer; \
        } \
    } while (0)

static int remember(int file, const char *path)
{
    if (file >= 0 && file < MAX_DESCRIPTORS)
        kinds[file] = kind_of(path);
    return file;
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) \
    { \
        NEXT(int (*)(const char *, int, mode_t), #name); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT)) \
            FAIL(kind_of(path), OPEN, -1); \
        return remember(real(path, flags, mode), path); \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int at, const char *path, int flags, ...) \
    { \
        NEXT(int (*)(int, const char *, int, mode_t), #name); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT)) \
            FAIL(kind_of(path), OPEN, -1); \
        return remember(real(at, path, flags, mode), path); \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

int close(int file)
{
    NEXT(int (*)(int), "close");
    if (file >= 0 && file < MAX_DESCRIPTORS)
        kinds[file] = 0;
    return real(file);
}

/* A call on a descriptor, with its further parameters and how they are handed on. */
#define CALL(answer, name, call, parameters, arguments, ...) \
    answer name parameters \
    { \
        NEXT(answer (*) parameters, #name); \
        FAIL(kind_of_descriptor(file), call, (answer)(__VA_ARGS__)); \
        return real arguments; \
    }
CALL(ssize_t, write, WRITE, (int file, const void *bytes, size_t count), (file, bytes, count), -1)
CALL(ssize_t, pwrite, WRITE, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at), -1)
CALL(ssize_t, pwrite64, WRITE, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at), -1)
CALL(ssize_t, writev, WRITE, (int file, const struct iovec *parts, int count), (file, parts, count), -1)
CALL(ssize_t, pwritev, WRITE, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at), -1)
CALL(ssize_t, pwritev64, WRITE, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at), -1)
CALL(ssize_t, read, READ, (int file, void *bytes, size_t count), (file, bytes, count), -1)
CALL(ssize_t, pread, READ, (int file, void *bytes, size_t count, off_t at), (file, bytes, count, at), -1)
CALL(ssize_t, pread64, READ, (int file, void *bytes, size_t count, off64_t at), (file, bytes, count, at), -1)
CALL(int, fsync, SYNC, (int file), (file), -1)
CALL(int, fdatasync, SYNC, (int file), (file), -1)
CALL(int, ftruncate, TRUNCATE, (int file, off_t size), (file, size), -1)
CALL(int, ftruncate64, TRUNCATE, (int file, off64_t size), (file, size), -1)
CALL(int, fallocate, TRUNCATE, (int file, int mode, off_t at, off_t size), (file, mode, at, size), -1)
CALL(int, fallocate64, TRUNCATE, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size), -1)
CALL(int, flock, operation & LOCK_UN ? UNLOCK : LOCK, (int file, int operation), (file, operation), -1)
CALL(void *, mmap, MAP, (void *at, size_t size, int protection, int flags, int file, off_t from),
     (at, size, protection, flags, file, from), MAP_FAILED)
CALL(void *, mmap64, MAP, (void *at, size_t size, int protection, int flags, int file, off64_t from),
     (at, size, protection, flags, file, from), MAP_FAILED)

/* posix_fallocate answers with the error itself. */
#define RESERVE(name, offset) \
    int name(int file, offset at, offset size) \
    { \
        NEXT(int (*)(int, offset, offset), #name); \
        int error = fault(kind_of_descriptor(file), TRUNCATE); \
        return error != NO_ERROR ? error : real(file, at, size); \
    }
RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)

#define CONTROLLER(name) \
    int name(int file, int command, ...) \
    { \
        NEXT(int (*)(int, int, void *), #name); \
        va_list list; \
        va_start(list, command); \
        void *argument = va_arg(list, void *); \
        va_end(list); \
        if (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW) { \
            const struct flock *lock = argument; \
            FAIL(kind_of_descriptor(file), lock->l_type == F_UNLCK ? UNLOCK : LOCK, -1); \
        } \
        return real(file, command, argument); \
    }
CONTROLLER(fcntl)
CONTROLLER(fcntl64)

int unlink(const char *path)
{
    NEXT(int (*)(const char *), "unlink");
    FAIL(kind_of(path), UNLINK, -1);
    return real(path);
}

int unlinkat(int at, const char *path, int flags)
{
    NEXT(int (*)(int, const char *, int), "unlinkat");
    FAIL(kind_of(path), UNLINK, -1);
    return real(at, path, flags);
}

int rename(const char *from, const char *to)
{
    NEXT(int (*)(const char *, const char *), "rename");
    FAIL(kind_of(to), UNLINK, -1);
    return real(from, to);
}
