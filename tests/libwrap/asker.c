/*
 * Asks about clients whose addresses come on standard input, one a line, in one process that lasts: a name
 * has to be looked up for each. Says what came of it, how long it took, what the resolver's settings are
 * afterwards, and how many threads there are:
 *
 *     VERDICT NAME MILLISECONDS RETRANS RETRY OPTIONS(hex) THREADS
 */
#define INET6 1
#include <arpa/inet.h>
#include <resolv.h>
#include <string.h>
#include <tcpd.h>
#include <time.h>

static long milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int threads(void)
{
    char line[200];
    int count = -1;
    FILE *status = fopen("/proc/self/status", "r");

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Threads: %d", &count) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return count;
}

int main(void)
{
    char line[200];

    res_init();
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct sockaddr_in client;
        struct request_info request;
        long begun = milliseconds();
        int verdict;

        memset(&client, 0, sizeof client);
        client.sin_family = AF_INET;
        line[strcspn(line, "\n")] = 0;
        if (inet_pton(AF_INET, line, &client.sin_addr) != 1)
            return 2;
        request_init(&request, RQ_DAEMON, "asker", RQ_CLIENT_SIN, &client, 0);
        sock_methods(&request);
        verdict = hosts_access(&request);
        printf("%d %s %ld %d %d %lx %d\n", verdict, request.client->name, milliseconds() - begun,
               _res.retrans, _res.retry, (unsigned long) _res.options, threads());
        fflush(stdout);
    }
    return 0;
}
