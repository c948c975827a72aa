/* Options of the sanitizers for programs that are built with this file: launcher and wardens have no environment. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

/* What is allocated lives as long as the process. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}
