/* What the capture programs agree on with each other and with ebpf/layout.py. */
#ifndef AMBIENT_CAPTURE_H
#define AMBIENT_CAPTURE_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Marks of sockets and packets, all under MARK_MASK. ztunnel's own is the ecosystem's. */
#define MARK_MASK 0xfff
#define ZTUNNEL_MARK 0x539 /* set by ztunnel on its listeners and connections */
#define LOOP_MARK 0x111	   /* the application's end of a connection whose other end is ztunnel's, in this namespace */

/* Ports of ztunnel's listeners in the pod's namespace. */
#define OUTBOUND_PORT 15001
#define INBOUND_PORT 15006
#define HBONE_PORT 15008

/* Slots of the listener map: DIRECTIONS rows of MEMBERS; a row holds members of one SO_REUSEPORT group, and any of them will do. */
enum direction { OUTBOUND = 0, INBOUND = 1, HBONE = 2, DIRECTIONS = 3 };
#define MEMBERS 16

/* IPv4 is kept as ::ffff:a.b.c.d. */
struct address {
	__be32 word[4];
};
_Static_assert(sizeof(struct address) == 16, "shared with Python");

struct listener_map {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, DIRECTIONS * MEMBERS);
	__type(key, __u32);
	__type(value, __u64);
};

#endif
