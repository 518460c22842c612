/* The cheapest server there is: it says one line and ends. No C library, because starting that would
 * cost more than what is measured. */
#define GREETING "hello\n"
#define LENGTH (sizeof GREETING - 1)

#if defined(__x86_64__)

static long call(long number, long first, const void *second, long third)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
}

void _start(void)
{
    call(1, 1, GREETING, LENGTH); /* write */
    for (;;)
        call(231, 0, 0, 0); /* exit_group */
}

#elif defined(__aarch64__)

static long call(long number, long first, const void *second, long third)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x2 __asm__("x2") = third;
    register const void *x1 __asm__("x1") = second;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}

void _start(void)
{
    call(64, 1, GREETING, LENGTH); /* write */
    for (;;)
        call(94, 0, 0, 0); /* exit_group */
}

#else
#error "the system calls of this processor are not written down here"
#endif
