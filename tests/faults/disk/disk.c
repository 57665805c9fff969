/* A disk that can lose its power, preloaded into the processes that write to it.
 *
 * Below DISK_ROOT, what a process makes durable (fsync and fdatasync of files and of directories) and what it does to
 * names goes into DISK_STATE/journal, in the order in which it happened over all processes. `journal.py` rebuilds from
 * it what a power cut at any moment leaves. Nothing is really synced: the journal is the disk, and quicker.
 *
 * DISK_STATE/control, mapped by every process, makes a chosen call fail or kill its process; see `struct control`.
 *
 * A file is known by its inode and time of birth, since inodes are used again. DISK_STATE/durable/FILE holds what is
 * durable of each, so that a sync writes only the blocks that changed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum operation { WRITE = 1, SYNC = 2, RENAME = 4, TRUNCATE = 8, CREATE = 16, UNLINK = 32 };
enum action { FAIL_ONCE = 1, FAIL_FOR_GOOD = 2, KILL_BEFORE = 3, KILL_AFTER = 4 };

struct control {
    int64_t left;       /* how many of the operations come before the one that is struck */
    int32_t operations; /* which kinds count, 0 for none */
    int32_t action;
    int32_t error; /* errno of a failure */
    int32_t struck; /* how many were */
};

struct text {
    char *bytes;
    size_t length, room;
};

#define BLOCK 4096
#define REAL(name, type, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static char root[PATH_MAX], state[PATH_MAX];
static volatile struct control *control;

__attribute__((constructor)) static void start(void) {
    const char *where = getenv("DISK_ROOT"), *kept = getenv("DISK_STATE");
    char path[PATH_MAX + 16];
    int fd;
    if (!where || !kept || !realpath(where, root) || !realpath(kept, state)) return;
    snprintf(path, sizeof path, "%s/control", state);
    if ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) control = mapped;
}

static int below(const char *path) {
    size_t length = strlen(root);
    return control && length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* The path of an open file with a name below the root. */
static int watched(int fd, char *path) {
    char link[64];
    int kept = errno;
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    errno = kept;
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path) && (length < 10 || strcmp(path + length - 10, " (deleted)"));
}

/* The absolute path of `name`, whose directory must exist; the last part is not followed. */
static int located(int dirfd, const char *name, char *path) {
    char whole[PATH_MAX * 2], link[64], parent[PATH_MAX];
    int kept = errno, found = 0;
    if (!control || !name || !*name) return 0;
    if (*name == '/') snprintf(whole, sizeof whole, "%s", name);
    else {
        snprintf(link, sizeof link, dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        if (length > 0) snprintf(whole + length, sizeof whole - length, "/%s", name);
        else *whole = 0;
    }
    size_t end = strlen(whole);
    while (end > 1 && whole[end - 1] == '/') whole[--end] = 0;
    char *slash = strrchr(whole, '/');
    if (slash && slash > whole) {
        *slash = 0;
        if (realpath(whole, parent)) found = snprintf(path, PATH_MAX, "%s/%s", parent, slash + 1) < PATH_MAX;
    }
    errno = kept;
    return found && below(path);
}

static const char *last(const char *path) { return strrchr(path, '/') + 1; }

/* "INODE.BIRTH" and whether it is a directory. */
static int identify(int dirfd, const char *path, char *id, int *directory) {
    struct statx found;
    int flags = *path ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
    if (statx(dirfd, path, flags, STATX_INO | STATX_BTIME | STATX_TYPE, &found)) return 0;
    snprintf(id, 64, "%llu.%lld%09u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
    *directory = S_ISDIR(found.stx_mode);
    return *directory || S_ISREG(found.stx_mode);
}

static void identify_parent(const char *path, char *id) {
    char parent[PATH_MAX];
    int directory;
    snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (!identify(AT_FDCWD, parent, id, &directory)) strcpy(id, "?");
}

/* One operation at a time over all processes; the kernel takes the lock back from one that is killed. */
static int lock(void) {
    char path[PATH_MAX + 16];
    REAL("open64", int, const char *, int, ...);
    snprintf(path, sizeof path, "%s/lock", state);
    int fd = real(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    while (fd >= 0 && flock(fd, LOCK_EX) && errno == EINTR) {}
    return fd;
}

static void unlock(int fd) {
    int kept = errno;
    close(fd);
    errno = kept;
}

static void add(struct text *text, const void *bytes, size_t length) {
    if (text->length + length > text->room) {
        text->room = (text->length + length) * 2;
        text->bytes = realloc(text->bytes, text->room);
        if (!text->bytes) abort();
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void say(struct text *text, const char *format, ...) {
    char line[PATH_MAX * 2];
    va_list rest;
    va_start(rest, format);
    int length = vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    add(text, line, length);
}

/* Append a record: kind, length of its text, the text. Its first 8 bytes say how much of the journal is whole, so
 * that a process killed halfway leaves nothing that is read. */
static void record(char kind, struct text *text) {
    char path[PATH_MAX + 16];
    int64_t end = 8;
    uint64_t length = text->length;
    REAL("open64", int, const char *, int, ...);
    snprintf(path, sizeof path, "%s/journal", state);
    int fd = real(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    if (pread(fd, &end, 8, 0) != 8) end = 8;
    char head[9] = {kind};
    memcpy(head + 1, &length, 8);
    static ssize_t (*write_at)(int, const void *, size_t, off_t);
    if (!write_at) write_at = dlsym(RTLD_NEXT, "pwrite64");
    if (write_at(fd, head, 9, end) != 9 || write_at(fd, text->bytes, length, end + 9) != (ssize_t)length) abort();
    end += 9 + length;
    if (write_at(fd, &end, 8, 0) != 8) abort();
    close(fd);
    free(text->bytes);
    *text = (struct text){0};
}

static void record_file(int fd, const char *id) {
    char path[PATH_MAX + 96], source[64], now[BLOCK], before[BLOCK];
    struct text text = {0};
    struct stat found;
    REAL("open64", int, const char *, int, ...);
    snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
    snprintf(path, sizeof path, "%s/durable/%s", state, id);
    int from = real(source, O_RDONLY | O_CLOEXEC), to = real(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (from < 0 || to < 0 || fstat(from, &found)) abort();
    say(&text, "%s %lld\n", id, (long long)found.st_size);
    for (off_t place = 0; place < found.st_size; place += BLOCK) {
        ssize_t length = pread(from, now, BLOCK, place), old = pread(to, before, BLOCK, place);
        if (length <= 0 || (length == old && !memcmp(now, before, length))) continue;
        int64_t header[2] = {place, length};
        add(&text, header, sizeof header);
        add(&text, now, length);
    }
    struct text copy = {0};
    add(&copy, text.bytes, text.length);
    record('S', &text);
    static ssize_t (*write_at)(int, const void *, size_t, off_t);
    static int (*cut)(int, off_t);
    if (!write_at) write_at = dlsym(RTLD_NEXT, "pwrite64");
    if (!cut) cut = dlsym(RTLD_NEXT, "ftruncate64");
    char *block = memchr(copy.bytes, '\n', copy.length) + 1;
    while (block < copy.bytes + copy.length) {
        int64_t header[2];
        memcpy(header, block, sizeof header);
        if (write_at(to, block + sizeof header, header[1], header[0]) != header[1]) abort();
        block += sizeof header + header[1];
    }
    if (cut(to, found.st_size)) abort();
    free(copy.bytes);
    close(from);
    close(to);
}

static void record_directory(const char *path, const char *id) {
    struct text text = {0};
    char child[64];
    int directory;
    DIR *listing = opendir(path);
    if (!listing) abort();
    say(&text, "%s\n", id);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
            identify(dirfd(listing), entry->d_name, child, &directory))
            say(&text, "%c %s %s\n", directory ? 'd' : 'f', child, entry->d_name);
    closedir(listing);
    record('D', &text);
}

static void record_name(const char *path) {
    char parent[64], id[64];
    int directory;
    struct text text = {0};
    if (!identify(AT_FDCWD, path, id, &directory)) return;
    identify_parent(path, parent);
    say(&text, "%s %c %s %s\n", parent, directory ? 'd' : 'f', id, last(path));
    record('L', &text);
}

/* Without a journal nothing is recorded, and strikes alone are of use. */
static int recording(void) {
    char path[PATH_MAX + 16];
    int kept = errno;
    snprintf(path, sizeof path, "%s/journal", state);
    int found = !access(path, F_OK);
    errno = kept;
    return found;
}

/* Returns 1 where the call is to fail, with errno set; -1 where its process is to die after it. */
static int strike(enum operation operation) {
    if (!control || !(control->operations & operation)) return 0;
    int64_t left = __atomic_fetch_sub(&control->left, 1, __ATOMIC_SEQ_CST);
    if (left > 0 || (left < 0 && control->action != FAIL_FOR_GOOD)) return 0;
    __atomic_fetch_add(&control->struck, 1, __ATOMIC_SEQ_CST);
    if (control->action == KILL_BEFORE) raise(SIGKILL);
    if (control->action == KILL_AFTER) return -1;
    errno = control->error;
    return 1;
}

static void fall(int struck) {
    if (struck < 0) raise(SIGKILL);
}

static int sync_of(int fd, const char *name) {
    char path[PATH_MAX], id[64];
    int directory;
    if (!watched(fd, path)) {
        int (*real)(int) = dlsym(RTLD_NEXT, name);
        return real(fd);
    }
    int struck = strike(SYNC), held;
    if (struck > 0) return -1;
    if (!recording() || !identify(fd, "", id, &directory)) {
        fall(struck);
        return 0;
    }
    held = lock();
    if (directory) record_directory(path, id);
    else record_file(fd, id);
    unlock(held);
    fall(struck);
    return 0;
}

int fsync(int fd) { return sync_of(fd, "fsync"); }
int fdatasync(int fd) { return sync_of(fd, "fdatasync"); }

/* What makes or takes a name: the call and its record under one lock. */
#define NAMING(operation, path, refusal, call, after)                                                                  \
    int struck = strike(operation);                                                                                    \
    if (struck > 0) return refusal;                                                                                    \
    int held = recording() ? lock() : -1;                                                                              \
    __typeof__(call) result = call;                                                                                    \
    if (held >= 0 && result != (refusal)) after;                                                                       \
    if (held >= 0) unlock(held);                                                                                       \
    fall(struck);                                                                                                      \
    return result

static int opened(const char *symbol, int dirfd, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, symbol);
    if ((flags & O_TMPFILE) == O_TMPFILE || !(flags & O_CREAT) || !located(dirfd, name, path) || !access(path, F_OK))
        return real(dirfd, name, flags, mode);
    NAMING(CREATE, path, -1, real(dirfd, name, flags, mode), record_name(path));
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *name, int flags, ...) { MODE return opened("openat", AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return opened("openat64", AT_FDCWD, name, flags, mode); }
int openat(int dirfd, const char *name, int flags, ...) { MODE return opened("openat", dirfd, name, flags, mode); }
int openat64(int dirfd, const char *name, int flags, ...) { MODE return opened("openat64", dirfd, name, flags, mode); }

static FILE *streamed(const char *symbol, const char *name, const char *how) {
    char path[PATH_MAX];
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, symbol);
    if (*how == 'r' || !located(AT_FDCWD, name, path) || !access(path, F_OK)) return real(name, how);
    NAMING(CREATE, path, NULL, real(name, how), record_name(path));
}

FILE *fopen(const char *name, const char *how) { return streamed("fopen", name, how); }
FILE *fopen64(const char *name, const char *how) { return streamed("fopen64", name, how); }

int mkdirat(int dirfd, const char *name, mode_t mode) {
    char path[PATH_MAX];
    REAL("mkdirat", int, int, const char *, mode_t);
    if (!located(dirfd, name, path)) return real(dirfd, name, mode);
    NAMING(CREATE, path, -1, real(dirfd, name, mode), record_name(path));
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int linkat(int olddirfd, const char *old, int dirfd, const char *name, int flags) {
    char path[PATH_MAX];
    REAL("linkat", int, int, const char *, int, const char *, int);
    if (!located(dirfd, name, path)) return real(olddirfd, old, dirfd, name, flags);
    NAMING(CREATE, path, -1, real(olddirfd, old, dirfd, name, flags), record_name(path));
}

int link(const char *old, const char *name) { return linkat(AT_FDCWD, old, AT_FDCWD, name, 0); }

static void record_end(const char *parent, const char *path) {
    struct text text = {0};
    say(&text, "%s %s\n", parent, last(path));
    record('U', &text);
}

int unlinkat(int dirfd, const char *name, int flags) {
    char path[PATH_MAX], parent[64];
    REAL("unlinkat", int, int, const char *, int);
    if (!located(dirfd, name, path)) return real(dirfd, name, flags);
    identify_parent(path, parent);
    NAMING(UNLINK, path, -1, real(dirfd, name, flags), record_end(parent, path));
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int remove(const char *name) {
    int result = unlinkat(AT_FDCWD, name, 0);
    return result && (errno == EISDIR || errno == EPERM) ? unlinkat(AT_FDCWD, name, AT_REMOVEDIR) : result;
}
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

static void record_rename(const char *from, const char *to) {
    char old[64], new[64], id[64];
    int directory;
    struct text text = {0};
    if (!identify(AT_FDCWD, to, id, &directory)) return;
    identify_parent(from, old);
    identify_parent(to, new);
    say(&text, "%s %s %c %s\n%s\n%s\n", old, new, directory ? 'd' : 'f', id, last(from), last(to));
    record('M', &text);
}

int renameat2(int olddirfd, const char *old, int dirfd, const char *name, unsigned flags) {
    char from[PATH_MAX], to[PATH_MAX];
    REAL("renameat2", int, int, const char *, int, const char *, unsigned);
    if (!located(olddirfd, old, from) || !located(dirfd, name, to)) return real(olddirfd, old, dirfd, name, flags);
    NAMING(RENAME, to, -1, real(olddirfd, old, dirfd, name, flags), record_rename(from, to));
}

int renameat(int olddirfd, const char *old, int dirfd, const char *name) {
    return renameat2(olddirfd, old, dirfd, name, 0);
}
int rename(const char *old, const char *name) { return renameat2(AT_FDCWD, old, AT_FDCWD, name, 0); }

/* What changes contents: not recorded, since only a sync makes it last; it may fail, or be the last thing done. */
#define CHANGING(operation, fd, refusal, call)                                                                         \
    char path[PATH_MAX];                                                                                               \
    int struck = control && (control->operations & (operation)) && watched(fd, path) ? strike(operation) : 0;          \
    if (struck > 0) return refusal;                                                                                    \
    __typeof__(call) result = call;                                                                                    \
    fall(struck);                                                                                                      \
    return result

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL("write", ssize_t, int, const void *, size_t);
    CHANGING(WRITE, fd, -1, real(fd, bytes, length));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t place) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off_t);
    CHANGING(WRITE, fd, -1, real(fd, bytes, length, place));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t place) { return pwrite(fd, bytes, length, place); }

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *file) {
    REAL("fwrite", size_t, const void *, size_t, size_t, FILE *);
    CHANGING(WRITE, fileno(file), 0, real(bytes, size, count, file));
}

int ftruncate(int fd, off_t length) {
    REAL("ftruncate64", int, int, off_t);
    CHANGING(TRUNCATE, fd, -1, real(fd, length));
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int fallocate(int fd, int mode, off_t place, off_t length) {
    REAL("fallocate64", int, int, int, off_t, off_t);
    CHANGING(TRUNCATE, fd, -1, real(fd, mode, place, length));
}

int fallocate64(int fd, int mode, off_t place, off_t length) { return fallocate(fd, mode, place, length); }

int posix_fallocate(int fd, off_t place, off_t length) {
    REAL("posix_fallocate64", int, int, off_t, off_t);
    CHANGING(TRUNCATE, fd, errno, real(fd, place, length));
}
