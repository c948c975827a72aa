/* The launcher's functions by themselves, for tests:
 *
 *     driver read < MESSAGE             what a task's message says: texts, each ended by a zero byte
 *     driver signal PID TICKS NUMBER    signals the process PID, if it is the one that was started at TICKS
 */
#define main launcher_main
#include "launcher.c"
#undef main

static void print(const char *text)
{
    fwrite(text, 1, strlen(text) + 1, stdout);
}

static void print_all(char **texts)
{
    while (*texts != NULL)
        print(*texts++);
    print("--");
}

/* In memory of just its size, so that a sanitizer sees a byte too many. */
static char *read_input(size_t *length)
{
    char *message = allocate(1 << 20), *exact;
    *length = fread(message, 1, 1 << 20, stdin);
    exact = allocate(*length);
    memcpy(exact, message, *length);
    free(message);
    return exact;
}

static void print_message(void)
{
    size_t length;
    char *message = read_input(&length);
    struct task task = read_task(message, length);
    char *texts[] = {task.key_json,      task.folder,  task.task_folder, task.record_json, task.command,
                     task.command_shown, task.refused, task.cwd,         task.cwd_shown,   task.path,
                     task.path_shown,    NULL};
    print_all(texts);
    print_all(task.args + 1);
    print_all(task.env);
    for (uint32_t index = 0; index < task.secrets; index++) {
        print(task.secret_names[index]);
        fwrite(task.secret_values[index], 1, (size_t)task.secret_lengths[index] + 1, stdout);
    }
}

int main(int count, char **values)
{
    if (count == 2 && strcmp(values[1], "read") == 0)
        print_message();
    else if (count == 5 && strcmp(values[1], "signal") == 0)
        signal_process((struct process){atoi(values[2]), 0, strtoull(values[3], NULL, 10)}, atoi(values[4]));
    else
        return 2;
    return 0;
}
