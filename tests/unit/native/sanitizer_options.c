/* Options of the sanitizers for what is built with this file: launcher and wardens are started without an environment. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

#ifndef REPORTS
#define REPORTS "stderr" /* else the path of a file, to whose name the process's id is added */
#endif

/* What is allocated lives as long as the process. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0:log_path=" REPORTS;
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:log_path=" REPORTS;
}
