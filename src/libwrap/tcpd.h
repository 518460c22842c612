/*
 * libwrap: the C interface of tcpd-rs, a drop-in for libwrap.so.0 of TCP Wrapper 7.6 as Debian builds it.
 * Names, types and layouts are those of that interface, so that programs compiled for either run with
 * the other; see hosts_access(3), and there for what is promised of each function.
 */

#ifndef TCPD_RS_TCPD_H
#define TCPD_RS_TCPD_H

#include <netinet/in.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest name, address or user, with the closing NUL. */
#define STRING_LENGTH 128

/* What a field says when the answer is not known, and when a host's name is not to be believed. An empty
 * field says that nobody has asked yet. */
#define STRING_UNKNOWN "unknown"
#define STRING_PARANOID "paranoid"

struct request_info;

/* One end of the connection. */
struct host_info {
    char name[STRING_LENGTH];     /* use eval_hostname() */
    char addr[STRING_LENGTH];     /* use eval_hostaddr() */
#ifdef INET6
    struct sockaddr *sin;         /* null where there is none */
#else
    struct sockaddr_in *sin;      /* the same; look at its family before anything else */
#endif
    struct t_unitdata *unit;      /* not used */
    struct request_info *request; /* the request that this is an end of */
};

/* One connection. */
struct request_info {
    int fd;
    char user[STRING_LENGTH];     /* use eval_user() */
    char daemon[STRING_LENGTH];   /* use eval_daemon() */
    char pid[10];                 /* use eval_pid() */
    struct host_info client[1];
    struct host_info server[1];
    void (*sink)(int);                      /* takes a datagram off the queue, or null */
    void (*hostname)(struct host_info *);   /* fills in the name of an end, or null */
    void (*hostaddr)(struct host_info *);   /* fills in its address, or null */
    void (*cleanup)(struct request_info *); /* not used */
    struct netconfig *config;               /* private */
};

/* Keys of request_init() and request_set(), and what follows each. */
#define RQ_FILE 1        /* int: the connection */
#define RQ_DAEMON 2      /* char *: the service, as rules know it */
#define RQ_USER 3        /* char *: the user at the client's end */
#define RQ_CLIENT_NAME 4 /* char * */
#define RQ_CLIENT_ADDR 5 /* char * */
#define RQ_CLIENT_SIN 6  /* struct sockaddr *, kept and not copied */
#define RQ_SERVER_NAME 7 /* char * */
#define RQ_SERVER_ADDR 8 /* char * */
#define RQ_SERVER_SIN 9  /* struct sockaddr *, kept and not copied */

extern struct request_info *request_init(struct request_info *, ...);
extern struct request_info *request_set(struct request_info *, ...);

/* The verdict: not 0 if the client is to be served. */
extern int hosts_access(struct request_info *);
extern int hosts_ctl(char *daemon, char *client_name, char *client_addr, char *client_user);

/* Who is at the ends of the descriptor. */
extern void sock_host(struct request_info *);
extern void sock_hostname(struct host_info *);
extern void sock_hostaddr(struct host_info *);
#define fromhost sock_host
#define sock_methods(r) \
    { (r)->hostname = sock_hostname; (r)->hostaddr = sock_hostaddr; }

/* Facts, asked for when they are needed, and once. */
extern char *eval_user(struct request_info *);
extern char *eval_hostname(struct host_info *);
extern char *eval_hostaddr(struct host_info *);
extern char *eval_hostinfo(struct host_info *);
extern char *eval_client(struct request_info *);
extern char *eval_server(struct request_info *);
#define eval_daemon(r) ((r)->daemon)
#define eval_pid(r) ((r)->pid)
#ifdef INET6
extern char *eval_port(struct sockaddr *);
extern void rfc931(struct sockaddr *client, struct sockaddr *server, char *user);
#else
extern char *eval_port(struct sockaddr_in *);
extern void rfc931(struct sockaddr_in *client, struct sockaddr_in *server, char *user);
#endif

/* These do not return. */
extern void refuse(struct request_info *);
extern void clean_exit(struct request_info *);

/* Rules and their parts. process_options() and tcpd_jump() may leave by longjmp(tcpd_buf, AC_...). */
#define AC_PERMIT 1
#define AC_DENY (-1)
#define AC_ERROR AC_DENY
extern void process_options(char *, struct request_info *);
extern void fix_options(struct request_info *);
extern void shell_cmd(char *);
extern char *percent_x(char *result, int size, char *text, struct request_info *);
extern char *percent_m(char *result, char *text);

/* Complaints, through the program's own syslog(3). */
extern void tcpd_warn(char *, ...);
extern void tcpd_jump(char *, ...);
struct tcpd_context {
    char *file;
    int line;
};
extern struct tcpd_context tcpd_context;

/* Texts. */
extern char *xgets(char *, int, FILE *);
extern char *split_at(char *, int);
extern unsigned long dot_quad_addr(char *);
extern unsigned long cidr_mask_addr(char *);

/* Settings of the program. Of the first two it may have its own. */
#ifdef HAVE_WEAKSYMS
extern int allow_severity __attribute__((weak));
extern int deny_severity __attribute__((weak));
#else
extern int allow_severity;
extern int deny_severity;
#endif
extern char *hosts_allow_table;
extern char *hosts_deny_table;
extern int hosts_access_verbose;
extern int rfc931_timeout;
extern int resident;
extern int dry_run;

extern char unknown[];
extern char paranoid[];

/* Shorthands that programs use. Case does not matter where texts are compared. */
#define STRN_CPY(to, from, size) \
    { strncpy((to), (from), (size)); (to)[(size) - 1] = 0; }
#define STRN_EQ(a, b, size) (strncasecmp((a), (b), (size)) == 0)
#define STRN_NE(a, b, size) (strncasecmp((a), (b), (size)) != 0)
#define STR_EQ(a, b) (strcasecmp((a), (b)) == 0)
#define STR_NE(a, b) (strcasecmp((a), (b)) != 0)
#define HOSTNAME_KNOWN(name) (STR_NE((name), unknown) && STR_NE((name), paranoid))
#define NOT_INADDR(text) ((text)[strspn((text), "01234567890./")] != 0)

#ifdef __cplusplus
}
#endif

#endif
