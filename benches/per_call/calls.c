/*
 * What does a decision cost a program that is linked with libwrap?
 *
 * usage: calls COUNT [ALLOW DENY]
 *
 * So many decisions about a client that is known by its address and is in no rule, by the two tables
 * that are named or by those of the machine. Says how many nanoseconds of the processor one takes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "tcpd.h"

int allow_severity = 6;
int deny_severity = 4;

static double used(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double) time.tv_sec * 1e9 + (double) time.tv_nsec;
}

static void decide(long count)
{
    struct request_info request;
    while (count-- > 0) {
        request_init(&request, RQ_DAEMON, "in.greetd", RQ_CLIENT_ADDR, "127.0.0.1", 0);
        if (hosts_access(&request) != 1) {
            fprintf(stderr, "refused\n");
            exit(1);
        }
    }
}

int main(int count, char **words)
{
    long calls = count > 1 ? atol(words[1]) : 0;
    double before;
    if (calls < 1)
        return 2;
    if (count > 3) {
        hosts_allow_table = words[2];
        hosts_deny_table = words[3];
    }
    /* The first ones fill the caches. */
    decide(calls / 10 + 1);
    before = used();
    decide(calls);
    printf("%.0f\n", (used() - before) / (double) calls);
    return 0;
}
