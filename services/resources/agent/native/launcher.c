/* The launcher and its wardens as one small program: `services.resources.agent.launcher` and `warden` say what they
 * promise, and are what runs where there is no C compiler. Same message, same files, same words.
 *
 * A fork of a Python process costs 2 ms of processor time in page faults before it does anything; a fork of this one a
 * twentieth of that, and a warden that waits holds some 100 KiB in place of megabytes.
 *
 *     launcher FD      serves the socket FD until the other end is closed
 *     launcher --check ends with 0: it was built and may be run here
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open /* headers of a kernel before 5.3; the numbers are those of all architectures but Alpha */
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#endif

enum { MAX_MESSAGE = 64 << 10, MAX_TEXT = 16 << 10, OPEN_FILES = 65536, FOREVER = 3600 };
enum { STREAMS = 2, PIECE = 64 << 10 };
enum { FULL_DISK_PAUSE = 200 }; /* milliseconds until the note of an end is tried again */
enum { EXIT_BYTES = 4096, MESSAGE_BYTES = 3584 }; /* room for the note of an end, and for the message in it, as JSON */
static const double KILL_FIRST = 0.01, KILL_MOST = 1.0;

/* What a task is to run with: see `task_message`. Texts end with a zero byte; those named *_json are JSON already. */
struct task {
    char *key_json, *folder, *task_folder, *record_json;
    char *command, *command_shown, *refused;
    char *cwd, *cwd_shown, *path, *path_shown;
    double grace, max_runtime; /* seconds; no limit: 0 */
    unsigned long long output_bytes; /* kept of what it prints; no limit: 0 */
    char **args, **env;
    uint32_t secrets;
    char **secret_names, **secret_values;
    uint32_t *secret_lengths;
};

struct reader {
    char *at, *end;
};

static void fail(const char *what)
{
    fprintf(stderr, "launcher: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void *allocate(size_t size)
{
    void *made = calloc(1, size > 0 ? size : 1);
    if (made == NULL)
        fail("memory");
    return made;
}

/* Formatted text in memory of its own, which lives as long as the warden. */
__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    va_list values;
    char *made;
    va_start(values, format);
    int length = vasprintf(&made, format, values);
    va_end(values);
    if (length < 0)
        fail("memory");
    return made;
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The message */

/* Bytes that a text takes at least: its length and its end. A secret is two of them. */
enum { LEAST_TEXT = 5, LEAST_SECRET = 2 * LEAST_TEXT };

static void refuse(const char *problem)
{
    errno = EBADMSG;
    fail(problem);
}

static size_t left_of(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static uint32_t read_number(struct reader *reader)
{
    uint32_t number;
    if (left_of(reader) < sizeof number)
        refuse("a task's message is cut");
    memcpy(&number, reader->at, sizeof number);
    reader->at += sizeof number;
    return number;
}

/* How many items follow, each of so many bytes at least: no memory is taken for more than the message can have. */
static uint32_t read_count(struct reader *reader, size_t least)
{
    uint32_t count = read_number(reader);
    if (count > left_of(reader) / least)
        refuse("a task's message is cut");
    return count;
}

static char *read_text(struct reader *reader, uint32_t *length)
{
    uint32_t count = read_number(reader);
    if (count >= left_of(reader) || reader->at[count] != 0)
        refuse("a task's message is cut");
    char *found = reader->at;
    reader->at += (size_t)count + 1;
    if (length != NULL)
        *length = count;
    return found;
}

/* A list of texts, with room before them for `ahead` more and a null pointer behind them. */
static char **read_texts(struct reader *reader, uint32_t ahead)
{
    uint32_t count = read_count(reader, LEAST_TEXT);
    char **found = allocate(((size_t)ahead + count + 1) * sizeof *found);
    for (uint32_t index = 0; index < count; index++)
        found[ahead + index] = read_text(reader, NULL);
    return found;
}

static struct task read_task(char *message, size_t length)
{
    struct reader reader = {message, message + length};
    struct task task = {0};
    char **texts[] = {&task.key_json,      &task.folder,  &task.task_folder, &task.record_json, &task.command,
                      &task.command_shown, &task.refused, &task.cwd,         &task.cwd_shown,   &task.path,
                      &task.path_shown};
    for (size_t index = 0; index < sizeof texts / sizeof *texts; index++)
        *texts[index] = read_text(&reader, NULL);
    task.grace = strtod(read_text(&reader, NULL), NULL);
    task.max_runtime = strtod(read_text(&reader, NULL), NULL);
    task.output_bytes = strtoull(read_text(&reader, NULL), NULL, 10);
    task.args = read_texts(&reader, 1);
    task.args[0] = task.command;
    task.env = read_texts(&reader, 0);
    task.secrets = read_count(&reader, LEAST_SECRET);
    task.secret_names = allocate(task.secrets * sizeof *task.secret_names);
    task.secret_values = allocate(task.secrets * sizeof *task.secret_values);
    task.secret_lengths = allocate(task.secrets * sizeof *task.secret_lengths);
    for (uint32_t index = 0; index < task.secrets; index++) {
        task.secret_names[index] = read_text(&reader, NULL);
        task.secret_values[index] = read_text(&reader, &task.secret_lengths[index]);
    }
    if (left_of(&reader) > 0)
        refuse("a task's message is longer than its parts");
    return task;
}

/* Files */

/* A text as the inside of a JSON string. */
static char *json_text(const char *plain)
{
    char *made = allocate(strlen(plain) * 6 + 1), *to = made;
    for (const unsigned char *from = (const unsigned char *)plain; *from; from++) {
        if (*from == '"' || *from == '\\')
            to += sprintf(to, "\\%c", *from);
        else if (*from < 0x20)
            to += sprintf(to, "\\u%04x", *from);
        else
            *to++ = (char)*from;
    }
    return made;
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        data += written;
        length -= (size_t)written;
    }
    return 0;
}

/* A task can put what it likes in place of its folders and of the files in them: no link is followed from the folder
 * above on, nothing but a plain file is read or written, and no open waits (see `events.process.notes`). */

/* Enter a folder that a task can reach. A descriptor for what is in it; -1, and errno, if that fails. */
static int enter(const char *folder)
{
    const char *slash = strrchr(folder, '/');
    char *above = text("%.*s", slash == NULL || slash == folder ? 1 : (int)(slash - folder), slash == NULL ? "." : folder);
    int parent = open(above, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), found = -1;
    if (parent >= 0) {
        found = openat(parent, slash == NULL ? folder : slash + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int failed = errno;
        close(parent);
        errno = failed;
    }
    free(above);
    return found;
}

/* The control folder, which a warden has only one of: entered at its first use, and kept. What a task puts in its place
 * later is not written to. */
static int enter_kept(const char *folder)
{
    static int kept = -1;
    if (kept < 0)
        kept = enter(folder);
    return kept;
}

/* The descriptor, if it is of a plain file that has no other name; else -1, and errno. */
static int only_plain(int fd)
{
    struct stat found;
    if (fd >= 0 && (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode) || found.st_nlink != 1)) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

/* Open a file of a folder that was entered. -1, and errno, if that fails. */
static int open_inside(int inside, const char *name, int flags)
{
    return inside < 0 ? -1 : only_plain(openat(inside, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
}

/* The file that a file of the folder is written to, before it gets its name: one that is there already, or a new one. */
static int open_scratch(int inside, const char *scratch)
{
    int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(inside, scratch, flags | O_CREAT | O_EXCL, 0600);
    if (fd >= 0 || errno != EEXIST)
        return fd;
    fd = only_plain(openat(inside, scratch, flags));
    if (fd < 0 && unlinkat(inside, scratch, 0) == 0) /* what a task has put there */
        fd = openat(inside, scratch, flags | O_CREAT | O_EXCL, 0600);
    return fd;
}

/* What the file had is overwritten and then cut: emptied first, it would lose the room that was taken for it. */
static int fill(int fd, const char *data)
{
    size_t length = strlen(data);
    if (write_all(fd, data, length) < 0)
        return -1;
    return ftruncate(fd, (off_t)length);
}

/* Write a file of the folder that is there whole or not at all. Without `publish` all is done but the last step: it is not
 * there yet. -1, and errno, if that fails. */
static int write_note(const char *folder, const char *name, const char *data, int publish)
{
    int inside = enter_kept(folder), done = -1;
    if (inside < 0)
        return -1;
    char *scratch = text("%s.new", name);
    int fd = open_scratch(inside, scratch), failed = errno;
    if (fd >= 0) {
        done = fill(fd, data);
        failed = errno;
        close(fd);
        if (done == 0 && publish) {
            done = renameat(inside, scratch, inside, name);
            failed = errno;
        }
    }
    free(scratch);
    errno = failed;
    return done;
}

static int write_file(const char *folder, const char *name, const char *data)
{
    return write_note(folder, name, data, 1);
}

/* Have room on the disk for so many bytes of a file of the folder: `write_file` succeeds though the disk is full by then.
 * A file system that can't promise it makes no error. -1, and errno, if there is no room. */
static int take_room(const char *folder, const char *name, off_t size)
{
    int inside = enter_kept(folder);
    if (inside < 0)
        return -1;
    char *scratch = text("%s.new", name);
    int fd = openat(inside, scratch, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), failed = errno;
    if (fd >= 0) {
        failed = posix_fallocate(fd, 0, size);
        close(fd);
    }
    free(scratch);
    if (failed == EOPNOTSUPP || failed == EINVAL)
        failed = 0;
    errno = failed;
    return failed == 0 ? 0 : -1;
}

/* The fields of /proc/PID/stat behind the name (proc_pid_stat(5)), from the state on; NULL if there is no such. */
static char *stat_fields(int pid, char line[static 1024])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t length = read(fd, line, 1023);
    close(fd);
    if (length <= 0)
        return NULL;
    line[length] = 0;
    char *name_end = strrchr(line, ')'); /* the name may hold blanks and brackets */
    return name_end == NULL || name_end[1] == 0 ? NULL : name_end + 2;
}

/* When a process was started, in ticks since boot, by its fields; 0 if they are too few. */
static unsigned long long ticks_in(const char *fields)
{
    for (int field = 3; fields != NULL && field < 22; field++) {
        fields = strchr(fields, ' ');
        if (fields != NULL)
            fields++;
    }
    return fields == NULL ? 0 : strtoull(fields, NULL, 10);
}

/* The same by its pid; 0 if there is none such. */
static unsigned long long ticks_of(int pid)
{
    char line[1024];
    return ticks_in(stat_fields(pid, line));
}

/* The tree */

struct process {
    int pid, parent;
    unsigned long long ticks; /* with the pid it names a process: a pid may be another's later */
};

/* Signal that very process, if it is still there. A descriptor holds on to it while its start is looked at. Where there
 * can't be one (no descriptor is left, an old kernel), there is an instant in which the pid may become another's. What is
 * not ours to kill is left: the next round finds it if it is there. */
static void signal_process(struct process process, int number)
{
    int fd = (int)syscall(SYS_pidfd_open, process.pid, 0);
    if (fd < 0 && errno == ESRCH)
        return;
    if (ticks_of(process.pid) == process.ticks) {
        if (fd >= 0)
            syscall(SYS_pidfd_send_signal, fd, number, NULL, 0);
        else
            kill(process.pid, number);
    }
    if (fd >= 0)
        close(fd);
}

/* Signal everything below this process. */
static void signal_tree(int number)
{
    struct process *all = NULL;
    size_t count = 0, room = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        char line[1024], state;
        struct process one = {.pid = atoi(entry->d_name)};
        char *fields = stat_fields(one.pid, line);
        if (fields == NULL || sscanf(fields, "%c %d", &state, &one.parent) != 2)
            continue;
        one.ticks = ticks_in(fields);
        if (count == room && (all = realloc(all, (room = 2 * room + 256) * sizeof *all)) == NULL)
            fail("memory");
        all[count++] = one;
    }
    closedir(proc);
    struct process *tree = allocate((count + 1) * sizeof *tree);
    size_t found = 1;
    tree[0].pid = getpid();
    for (size_t next = 0; next < found; next++) /* parents before children */
        for (size_t index = 0; index < count; index++)
            if (all[index].parent == tree[next].pid && found <= count)
                tree[found++] = all[index];
    for (size_t index = 1; index < found; index++)
        signal_process(tree[index], number);
    free(tree);
    free(all);
}

/* The start */

/* Where the command is found in the task's own PATH; NULL if nowhere. */
static char *find(const struct task *task)
{
    if (strchr(task->command, '/') != NULL)
        return task->command;
    for (const char *at = task->path;; at++) {
        size_t length = strcspn(at, ":");
        char *candidate = text("%.*s/%s", length ? (int)length : 1, length ? at : ".", task->command);
        struct stat found;
        if (access(candidate, X_OK) == 0 && stat(candidate, &found) == 0 && S_ISREG(found.st_mode))
            return candidate;
        free(candidate);
        at += length;
        if (*at == 0)
            return NULL;
    }
}

static void limit(int kind, rlim_t soft)
{
    struct rlimit now;
    getrlimit(kind, &now);
    now.rlim_cur = now.rlim_max == RLIM_INFINITY || soft < now.rlim_max ? soft : now.rlim_max;
    if (kind == RLIMIT_CORE)
        now.rlim_max = 0;
    setrlimit(kind, &now);
}

static int write_secrets(const struct task *task)
{
    if (task->secrets == 0)
        return 0;
    if (mkdir(text("%s/secrets", task->task_folder), 0700) < 0)
        return -1;
    for (uint32_t index = 0; index < task->secrets; index++) {
        char *path = text("%s/secrets/%s", task->task_folder, task->secret_names[index]);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
        if (fd < 0 || write_all(fd, task->secret_values[index], task->secret_lengths[index]) < 0)
            return -1;
        close(fd);
    }
    return 0;
}

/* Output: the task prints into pipes, and the warden writes files of it. In place of a pipe, a file would be truncated by
 * each program that opens /dev/stderr anew, and could grow without a bound. The warden keeps the ends that it gives to the
 * task: it would be woken once more by their closing, just before it hears that the task is gone. */

struct stream {
    const char *name;
    int from, into, to;          /* the pipe's ends and the file; the file is made when there is something for it, -1 before */
    char data[PIECE];
    size_t length, written;      /* of `data` */
    unsigned long long cut;      /* bytes that were not kept */
};

static struct stream streams[STREAMS] = {{.name = "stdout", .to = -1}, {.name = "stderr", .to = -1}};

/* -1, and errno, if that fails. */
static int open_streams(void)
{
    for (int index = 0; index < STREAMS; index++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -1;
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        streams[index].from = ends[0];
        streams[index].into = ends[1];
    }
    return 0;
}

static void note_cuts(const struct task *task)
{
    char *cuts = text("{\"stdout\": %llu, \"stderr\": %llu}", streams[0].cut, streams[1].cut);
    if (write_file(task->folder, "cut.json", cuts) < 0)
        fprintf(stderr, "launcher: %s/cut.json: %s\n", task->folder, strerror(errno));
    free(cuts);
}

/* -1, and errno, if that fails. Most tasks print to one stream or none, and a file's making is a good part of a start. A
 * task may have put something else in the file's place meanwhile: that is not written to. */
static ssize_t append(const struct task *task, struct stream *stream, const char *data, size_t length)
{
    if (stream->to < 0) {
        stream->to = open_inside(enter_kept(task->folder), stream->name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
        if (stream->to < 0)
            return -1;
    }
    return write(stream->to, data, length);
}

/* Write what was read, as far as it is within the limit. 0 when the disk is full: it is to be tried again. */
static int write_stream(const struct task *task, struct stream *stream)
{
    static unsigned long long kept;
    while (stream->written < stream->length) {
        size_t wanted = stream->length - stream->written;
        unsigned long long room = task->output_bytes ? task->output_bytes - kept : wanted;
        const char *next = stream->data + stream->written;
        ssize_t done = room ? append(task, stream, next, wanted < room ? wanted : room) : -1;
        if (room && done < 0) {
            if (errno == EINTR)
                continue;
            if (errno == ENOSPC || errno == EDQUOT)
                return 0;
        }
        if (done > 0) {
            kept += (unsigned long long)done;
            stream->written += (size_t)done;
            continue;
        }
        int first = streams[0].cut + streams[1].cut == 0;
        stream->cut += wanted;
        stream->written = stream->length;
        if (first)
            note_cuts(task);
    }
    return 1;
}

/* Move on what the task has printed, a piece at most. How many bytes; 0 if there is nothing now. */
static size_t move_stream(const struct task *task, struct stream *stream)
{
    if (!write_stream(task, stream))
        return 0;
    ssize_t got = read(stream->from, stream->data, sizeof stream->data);
    if (got <= 0)
        return 0; /* nothing yet */
    stream->length = (size_t)got;
    stream->written = 0;
    write_stream(task, stream);
    return (size_t)got;
}

/* Write what was read, whole. While it waits for a full disk the note of the task's end is kept in its room, in case this
 * process is killed meanwhile. */
static void write_whole(const struct task *task, struct stream *stream, const char *exit_note)
{
    while (!write_stream(task, stream)) {
        write_note(task->folder, "exit.json", exit_note, 0); /* it fails if the task took the room away */
        poll(NULL, 0, FULL_DISK_PAUSE);
    }
}

/* The task is gone: move on what is left in its pipes. What others still hold the pipe's end is not waited for. */
static void end_streams(const struct task *task, const char *exit_note)
{
    for (int index = 0; index < STREAMS; index++) {
        struct stream *stream = &streams[index];
        int left = 0;
        write_whole(task, stream, exit_note);
        ioctl(stream->from, FIONREAD, &left);
        for (size_t moved = 1; left > 0 && moved > 0; left -= (int)moved) {
            moved = move_stream(task, stream);
            write_whole(task, stream, exit_note);
        }
    }
    if (streams[0].cut + streams[1].cut > 0)
        note_cuts(task);
}

/* Move output on until a signal comes, or for so many seconds. The signal's number, or 0. */
static int wait_for_news(const struct task *task, int signals, double most)
{
    struct pollfd ready[STREAMS + 1] = {{signals, POLLIN, 0}};
    for (int index = 0; index < STREAMS; index++) {
        int full = streams[index].written < streams[index].length;
        ready[index + 1] = (struct pollfd){full ? -1 : streams[index].from, POLLIN, 0};
        if (full)
            most = fmin(most, FULL_DISK_PAUSE / 1e3);
    }
    if (poll(ready, STREAMS + 1, (int)ceil(most * 1e3)) < 0 && errno != EINTR)
        fail("poll");
    for (int index = 0; index < STREAMS; index++)
        if (ready[index + 1].revents || ready[index + 1].fd < 0)
            move_stream(task, &streams[index]);
    struct signalfd_siginfo got;
    if ((ready[0].revents & POLLIN) && read(signals, &got, sizeof got) == sizeof got)
        return (int)got.ssi_signo;
    return 0;
}

/* The umask that tasks get; the launcher and the wardens have their own. */
static mode_t tasks_umask;

static int spawn(const struct task *task, const char *program)
{
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    int expected[] = {SIGPIPE, SIGXFSZ, SIGCHLD, SIGINT, SIGTERM, SIGHUP};
    for (size_t index = 0; index < sizeof expected / sizeof *expected; index++)
        sigaddset(&defaults, expected[index]);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, streams[0].into, 1);
    posix_spawn_file_actions_adddup2(&files, streams[1].into, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    pid_t pid;
    umask(tasks_umask);
    int failed = posix_spawn(&pid, program, &files, &attributes, task->args, task->env);
    umask(0077);
    errno = failed;
    return failed ? -1 : pid;
}

/* The command's pid, or -1 with the reason in `why`. The warden takes on what the command is to inherit. */
static int start(const struct task *task, char **why)
{
    if (mkdir(task->task_folder, 0700) < 0 || mkdir(text("%s/work", task->task_folder), 0700) < 0) {
        *why = text("%s: the task's folder %s can't be made: %s", task->command_shown, task->task_folder,
                    strerror(errno));
        return -1;
    }
    if (write_secrets(task) < 0) {
        *why = text("%s: the task's folder %s can't take its secrets: %s", task->command_shown, task->task_folder,
                    strerror(errno));
        return -1;
    }
    if (*task->refused) {
        *why = task->refused;
        return -1;
    }
    const char *wanted = *task->cwd ? task->cwd : text("%s/work", task->task_folder);
    if (chdir(wanted) < 0) {
        char *shown = *task->cwd ? task->cwd_shown : text("'%s'", wanted);
        *why = text("%s: working_directory %s can't be entered: %s", task->command_shown, shown, strerror(errno));
        return -1;
    }
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, OPEN_FILES);
    char *program = find(task);
    if (program == NULL) {
        *why = text("%s is not found; PATH on this node is %s", task->command_shown, task->path_shown);
        return -1;
    }
    if (open_streams() < 0) {
        *why = text("%s: its output can't be taken: %s", task->command_shown, strerror(errno));
        return -1;
    }
    int pid = spawn(task, program);
    if (pid < 0)
        *why = text("%s can't be started: %s", task->command_shown, strerror(errno));
    return pid;
}

/* The end */

struct wish {
    char *reason, *message; /* inside of JSON strings */
    double grace;
};

/* The value of a field of a flat JSON object: the inside of a string, or a number's text; NULL if it is not there. */
static char *json_field(const char *object, const char *name)
{
    char *wanted = text("\"%s\"", name);
    const char *at = object;
    while (*at) {
        if (*at != '"') {
            at++;
            continue;
        }
        const char *begin = at++;
        while (*at && *at != '"')
            at += at[0] == '\\' && at[1] ? 2 : 1;
        if (*at == 0)
            return NULL;
        at++;
        const char *value = at + strspn(at, " \t\r\n");
        if (*value != ':')
            continue; /* it was a value */
        value += 1 + strspn(value + 1, " \t\r\n");
        if ((size_t)(at - begin) != strlen(wanted) || strncmp(begin, wanted, strlen(wanted)) != 0) {
            at = value;
            continue;
        }
        const char *end = value;
        if (*value == '"')
            for (end = ++value; *end && *end != '"';)
                end += end[0] == '\\' && end[1] ? 2 : 1;
        else
            end += strcspn(value, ",} \t\r\n");
        return text("%.*s", (int)(end - value), value);
    }
    return NULL;
}

/* What the agent has left in the control folder. 0 if there is nothing: then the signal was not the agent's. */
static int read_wish(const struct task *task, struct wish *wish)
{
    char request[MAX_TEXT];
    int fd = open_inside(enter_kept(task->folder), "stop.json", O_RDONLY);
    if (fd < 0 && errno == ENOENT) { /* an agent that was started since then knows the folder by its path */
        int inside = enter(task->folder);
        fd = open_inside(inside, "stop.json", O_RDONLY);
        int failed = errno;
        if (inside >= 0)
            close(inside);
        errno = failed;
    }
    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t length = fd < 0 ? -1 : read(fd, request, sizeof request - 1);
    if (fd >= 0)
        close(fd);
    request[length < 0 ? 0 : length] = 0;
    char *reason = json_field(request, "reason"), *grace = json_field(request, "grace");
    char *message = json_field(request, "message");
    char *rest = grace;
    double seconds = grace == NULL ? 0 : strtod(grace, &rest);
    if (reason == NULL || message == NULL || rest == grace) {
        *wish = (struct wish){"stopped", "its stop request could not be read", task->grace};
        return 1;
    }
    *wish = (struct wish){reason, message, seconds >= 0 ? seconds : 0};
    return 1;
}

/* What the task put in place of its secrets is left: the agent removes the whole folder later. */
static void remove_secrets(const struct task *task)
{
    int own = task->secrets ? enter(task->task_folder) : -1;
    int secrets = own < 0 ? -1 : openat(own, "secrets", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (own >= 0)
        close(own);
    DIR *folder = secrets < 0 ? NULL : fdopendir(secrets);
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.' || (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")))
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

/* How many bytes of the inside of a JSON string there is room for: no character and no escape is cut. */
static int fitting(const char *message)
{
    size_t fits = 0, next = 0;
    while (message[next] != 0 && next <= MESSAGE_BYTES) {
        fits = next;
        if (message[next] == '\\') {
            size_t escape = message[next + 1] == 'u' ? 6 : 2;
            next += strnlen(message + next, escape);
        } else {
            while ((message[++next] & 0xc0) == 0x80) /* the rest of a character in UTF-8 */
                ;
        }
    }
    return (int)(next <= MESSAGE_BYTES ? next : fits);
}

/* The note of how it ended. */
static char *exit_note(const char *reason, const char *message, const char *rest)
{
    return text("{\"ended_at\": %.6f, \"reason\": \"%s\", \"message\": \"%.*s\"%s}", seconds(CLOCK_REALTIME), reason,
                fitting(message), message, rest);
}

/* If the disk is full all the same it is tried again: nobody else knows how the task ended. */
static void publish_exit(const struct task *task, const char *note)
{
    while (write_file(task->folder, "exit.json", note) < 0) {
        if (errno != ENOSPC && errno != EDQUOT)
            fail("exit.json"); /* the agent finds no note of the end, and says so */
        poll(NULL, 0, FULL_DISK_PAUSE);
    }
}

struct end {
    const char *reason;  /* inside of a JSON string */
    const char *message;
    int ended, status;   /* of the command's process */
    double kill_at;      /* when SIGKILL is due; infinite until an end was begun */
};

/* TERM now and KILL after the grace. A second, more urgent wish shortens the grace. */
static void begin_end(struct end *end, const char *reason, double grace)
{
    if (!end->ended && strcmp(end->reason, "exited") == 0)
        end->reason = reason;
    double kill_at = seconds(CLOCK_MONOTONIC) + grace;
    if (isinf(end->kill_at)) {
        end->kill_at = kill_at;
        if (grace > 0)
            signal_tree(SIGTERM);
    } else {
        end->kill_at = fmin(end->kill_at, kill_at);
    }
}

/* Collect what has ended. 0 when nothing is left: whatever the tree orphans becomes a child of ours. */
static int reap(struct end *end, int pid)
{
    for (;;) {
        int status, found = waitpid(-1, &status, WNOHANG);
        if (found < 0 && errno == ECHILD)
            return 0;
        if (found <= 0)
            return 1;
        if (found == pid) {
            end->ended = 1;
            end->status = status;
        }
    }
}

/* What the task printed is whole before its end is told. */
static void end_task(const struct task *task, const struct end *end)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    char code[16] = "null", number[16] = "null";
    if (end->ended && WIFEXITED(end->status))
        snprintf(code, sizeof code, "%d", WEXITSTATUS(end->status));
    else if (end->ended)
        snprintf(number, sizeof number, "%d", WTERMSIG(end->status));
    char *rest = text(", \"exit_code\": %s, \"signal\": %s, \"cpu_seconds\": %.6f, \"max_rss_bytes\": %lld", code, number,
                      cpu, (long long)used.ru_maxrss << 10);
    char *note = exit_note(end->ended ? end->reason : "untracked", strcmp(end->reason, "exited") ? end->message : "",
                           rest);
    remove_secrets(task);
    end_streams(task, note);
    publish_exit(task, note);
}

/* Wait for the command, and end its tree when told to, at its runtime limit, or when it leaves something over. */
static void watch(const struct task *task, int pid, const sigset_t *signals)
{
    struct end end = {"exited", "", 0, 0, INFINITY};
    double limit_at = task->max_runtime > 0 ? seconds(CLOCK_MONOTONIC) + task->max_runtime : INFINITY;
    double pause = KILL_FIRST;
    int heard = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (heard < 0)
        fail("signalfd");
    while (reap(&end, pid)) {
        double now = seconds(CLOCK_MONOTONIC);
        if (now >= limit_at) {
            limit_at = INFINITY;
            end.message = text("still ran after %g s, its max_runtime_seconds", task->max_runtime);
            begin_end(&end, "timeout", task->grace);
        }
        if (end.ended && isinf(end.kill_at))
            begin_end(&end, end.reason, task->grace); /* it left processes behind */
        double wait = fmin(FOREVER, limit_at - now);
        if (now >= end.kill_at) {
            signal_tree(SIGKILL);
            end.kill_at = now + pause;
            pause = fmin(pause * 2, KILL_MOST);
        }
        wait = fmax(fmin(wait, end.kill_at - now), 0);
        int number = wait_for_news(task, heard, wait);
        if (number == SIGTERM || number == SIGINT) {
            struct wish wish;
            if (!read_wish(task, &wish))
                continue; /* a task can send it, too */
            end.message = wish.message;
            begin_end(&end, wish.reason, wish.grace);
        }
    }
    end_task(task, &end);
}

/* Tell the agent, once: the task's key and what is known of it. The agent may be gone; the next one looks into the
 * folder. */
static void say(int agent, const struct task *task, const char *rest)
{
    char *answer = text("{\"key\": %s, %s}", task->key_json, rest);
    if (send(agent, answer, strlen(answer), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        fprintf(stderr, "launcher: answering: %s\n", strerror(errno));
    close(agent);
}

static void say_no_folder(int agent, const struct task *task, int error)
{
    say(agent, task, text("\"error\": \"the task's control folder %s can't be made: %s\"", json_text(task->folder),
                          json_text(strerror(error))));
}

/* The whole life of one attempt. */
static void watch_over(const struct task *task, int agent, const sigset_t *signals)
{
    /* The control folder is the claim: the warden that makes it starts the attempt. */
    if (mkdir(task->folder, 0700) < 0) {
        if (errno == EEXIST)
            say(agent, task, "\"claimed\": true");
        else
            say_no_folder(agent, task, errno);
        return;
    }
    char *warden = text("\"warden\": %d, \"warden_ticks\": %llu", getpid(), ticks_of(getpid()));
    size_t inside = strlen(task->record_json) - 1; /* without the closing brace */
    char *record = text("%.*s%s%s}", (int)inside, task->record_json, inside > 1 ? ", " : "", warden);
    if (take_room(task->folder, "exit.json", EXIT_BYTES) < 0 || write_file(task->folder, "task.json", record) < 0) {
        say_no_folder(agent, task, errno);
        return;
    }
    char *why = NULL;
    int pid = start(task, &why);
    if (pid < 0) {
        remove_secrets(task);
        publish_exit(task, exit_note("spawn_failed", json_text(why), ""));
        say(agent, task, warden);
        return;
    }
    char *started = text("\"pid\": %d, \"ticks\": %llu, \"started_at\": %.6f", pid, ticks_of(pid),
                         seconds(CLOCK_REALTIME));
    say(agent, task, text("%s, %s", warden, started));
    if (write_file(task->folder, "started.json", text("{%s}", started)) < 0)
        fprintf(stderr, "launcher: %s/started.json: %s\n", task->folder, strerror(errno)); /* the agent was told */
    if (chdir("/") < 0)
        fail("/");
    watch(task, pid, signals);
}

/* The launcher */

/* A longer message comes as a memory file. */
static char *read_memory(int fd, size_t *length)
{
    struct stat file;
    if (fstat(fd, &file) < 0)
        fail("a task's message");
    *length = (size_t)file.st_size;
    char *found = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (found == MAP_FAILED)
        fail("a task's message");
    return found;
}

static void serve(int agent, const sigset_t *signals)
{
    static char message[MAX_MESSAGE];
    for (;;) {
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr aligned;
        } control;
        struct iovec parts = {message, sizeof message};
        struct msghdr header = {
            .msg_iov = &parts, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(agent, &header, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return; /* the agent is gone; the wardens stay */
        struct cmsghdr *passed = CMSG_FIRSTHDR(&header);
        int file = -1;
        if (passed != NULL && passed->cmsg_type == SCM_RIGHTS)
            memcpy(&file, CMSG_DATA(passed), sizeof file);
        pid_t pid;
        while ((pid = fork()) < 0) { /* the machine is out of processes: the task waits */
            fprintf(stderr, "launcher: fork: %s; trying again\n", strerror(errno));
            poll(NULL, 0, 200);
        }
        if (pid == 0) {
            prctl(PR_SET_NAME, "forgelog-warden", 0, 0, 0);
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            setsid();
            sigprocmask(SIG_BLOCK, signals, NULL);
            signal(SIGCHLD, SIG_DFL);
            signal(SIGINT, SIG_DFL);
            size_t length = (size_t)got;
            char *whole = file < 0 ? message : read_memory(file, &length);
            struct task task = read_task(whole, length);
            watch_over(&task, agent, signals);
            _exit(0);
        }
        if (file >= 0)
            close(file);
    }
}

int main(int count, char **values)
{
    if (count == 2 && strcmp(values[1], "--check") == 0)
        return 0;
    if (count != 2) {
        fprintf(stderr, "usage: launcher FD\n");
        return 2;
    }
    tasks_umask = umask(0077);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* no other process of this user looks into what holds tasks' secrets */
    int agent = atoi(values[1]);
    fcntl(agent, F_SETFD, FD_CLOEXEC);
    sigset_t signals;
    sigemptyset(&signals);
    int heard[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    for (size_t index = 0; index < sizeof heard / sizeof *heard; index++)
        sigaddset(&signals, heard[index]);
    signal(SIGCHLD, SIG_IGN); /* wardens are watched by the agent; none becomes a zombie */
    signal(SIGINT, SIG_IGN);  /* a terminal's Ctrl-C is the agent's to answer */
    signal(SIGPIPE, SIG_IGN);
    serve(agent, &signals);
    return 0;
}
