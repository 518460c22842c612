/*
 * What has gone wrong in programs that ask libwrap: does it go wrong here? tests/history.rs has the list of
 * all events.
 */
#define _GNU_SOURCE
#include "checks.h"

int allow_severity = LOG_INFO;
int deny_severity = LOG_WARNING;

/* Daemons that know nothing of their own end, and say so in every way there is: names still match. */
static void cve_2007_4601(void)
{
    static const char *const denials[] = {
        "in.testd: ALL\n", "79, in.testd: ALL\n", "in.testd@192.0.2.1, in.testd: ALL\n", "ALL EXCEPT 79: ALL\n",
    };
    for (size_t index = 0; index < COUNT(denials); index++) {
        struct request_info *request = fresh();
        rules("", denials[index]);
        request_set(request, RQ_DAEMON, "in.testd", RQ_CLIENT_ADDR, "192.0.2.7", 0);
        EXPECT(hosts_access(request) == 0);
        EXPECT(hosts_ctl(text("in.testd"), text(""), text("192.0.2.7"), text("")) == 0);
        request_set(request, RQ_SERVER_ADDR, "", RQ_SERVER_NAME, "", 0);
        EXPECT(hosts_access(request) == 0);
        request_set(request, RQ_SERVER_ADDR, STRING_UNKNOWN, RQ_SERVER_NAME, STRING_UNKNOWN, 0);
        EXPECT(hosts_access(request) == 0);
    }
    rules("in.testd: 192.0.2.7\n", "ALL: ALL\n");
    EXPECT(hosts_ctl(text("in.testd"), text(""), text("192.0.2.7"), text("")) == 1);
    EXPECT(hosts_ctl(text("in.other"), text(""), text("192.0.2.7"), text("")) == 0);
}

/* Each fact is asked where it belongs, whatever stands in the other places. */
static void cve_2008_6123(void)
{
    struct request_info *request = stated();
    static const struct { const char *deny; int verdict; } cases[] = {
        { "ALL: 192.0.2.1\n", 1 }, { "ALL: 192.0.2.7\n", 0 },
        { "ALL: server.example.com\n", 1 }, { "ALL: host.example.com\n", 0 },
        { "in.testd@192.0.2.7: ALL\n", 1 }, { "in.testd@192.0.2.1: ALL\n", 0 },
        { "in.testd@host.example.com: ALL\n", 1 }, { "joe: ALL\n", 1 }, { "ALL: in.testd\n", 1 },
    };
    for (size_t index = 0; index < COUNT(cases); index++) {
        rules("", cases[index].deny);
        EXPECT(hosts_access(request) == cases[index].verdict);
    }
    /* hosts_ctl(3) has name, address, user in this order. */
    rules("in.testd: joe@host.example.com\n", "ALL: ALL\n");
    EXPECT(hosts_ctl(text("in.testd"), text("host.example.com"), text("192.0.2.7"), text("joe")) == 1);
    EXPECT(hosts_ctl(text("in.testd"), text("joe"), text("192.0.2.7"), text("host.example.com")) == 0);
    /* A number in the place of a name is no address. */
    rules("in.testd: 192.0.2.7\n", "ALL: ALL\n");
    EXPECT(hosts_ctl(text("in.testd"), text("host.example.com"), text("192.0.2.7"), text("joe")) == 1);
    EXPECT(hosts_ctl(text("in.testd"), text("192.0.2.7"), text("198.51.100.7"), text("joe")) == 0);
}

/* A program that states no name: nobody is let in by one, and UNKNOWN keeps him out. */
static void cve_2012_3417(void)
{
    static const char *const names[] = { "", STRING_UNKNOWN };
    for (size_t index = 0; index < COUNT(names); index++) {
        char *name = text(names[index]);
        rules("in.testd: .example.com KNOWN\n", "ALL: ALL\n");
        EXPECT(hosts_ctl(text("in.testd"), name, text("192.0.2.7"), text("")) == 0);
        rules("", "in.testd: .evil.example UNKNOWN\n");
        EXPECT(hosts_ctl(text("in.testd"), name, text("192.0.2.7"), text("")) == 0);
        rules("", "in.testd: ALL EXCEPT .example.com\n");
        EXPECT(hosts_ctl(text("in.testd"), name, text("192.0.2.7"), text("")) == 0);
        /* The table is read each time: what an earlier call did not know is no answer to a later one. */
        rules("", "in.testd: .evil.example\n");
        (void) hosts_ctl(text("in.testd"), name, text("192.0.2.7"), text(""));
        EXPECT(hosts_ctl(text("in.testd"), text("x.evil.example"), text("192.0.2.7"), text("")) == 0);
    }
}

/* The name of a table and the text of a rule are no formats. */
static void tcpd_diag(void)
{
    const struct entry *line;
    char *odd;
    rules("", "");
    write_file("%n%s%5000d", "ALL: ALL: %n%s%n x\n");
    odd = path("%n%s%5000d");
    hosts_allow_table = odd;
    record->length = 0;
    EXPECT(hosts_ctl(text("in.testd"), text(""), text("192.0.2.7"), text("")) == 0);
    line = logged(odd);
    EXPECT(line && strstr(record_text(line), "line 1: bad option name: \"%n%s%n\""));
}

/* What the original did in each case is not the point. */
#define EVENT(name) { #name, name, 1 }

static const struct check checks[] = {
    EVENT(cve_2007_4601),
    EVENT(cve_2008_6123),
    EVENT(cve_2012_3417),
    EVENT(tcpd_diag),
};

int main(int count, char **words)
{
    return run_checks(count, words, checks, COUNT(checks));
}
