/* Walks the TCP sockets of the namespace that the reader of the iterator stands in (iter/tcp, kernel 5.15).
 *
 * "adopt" puts ztunnel's listeners into the pod's listener map; "mark" marks the sockets that live across a switch of capture.
 * The kernel's types are declared with the few members read here; libbpf finds them in the running kernel's BTF.
 */
#include "capture.h"

#include <bpf/bpf_core_read.h>

#define AF_INET6 10
#define SOL_SOCKET 1
#define SO_MARK 36
#define LOOPBACK_IFINDEX 1

/* include/net/tcp_states.h */
enum { SYN_SENT_STATE = 2, LISTEN_STATE = 10, HALF_OPEN_STATE = 12 };

struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

struct dst_entry {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct sock_common {
	volatile unsigned char skc_state;
	__u16 skc_num;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
	__u32 sk_mark;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct inet_sock icsk_inet;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
} __attribute__((preserve_access_index));

struct inet_request_sock {
	__u32 ir_mark;
} __attribute__((preserve_access_index));

struct tcp_request_sock {
	struct inet_request_sock req;
} __attribute__((preserve_access_index));

struct bpf_iter_meta {
	__u64 seq_num;
} __attribute__((preserve_access_index));

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
} __attribute__((preserve_access_index));

/* What to do and what was found; the agent writes it before a walk and reads it after. */
struct walk {
	/* mark: sockets whose mark (under MARK_MASK) is `from` get `to`. */
	__u32 from;
	__u32 to;
	/* mark: sockets that wait for the answer to their SYN: 0 none, 1 all, 2 those that do not leave by lo. */
	__u32 syn_sent;
	/* Results: sockets marked; unmarked half-open connections seen; listeners found for each direction. */
	__u32 marked;
	__u32 half_open;
	__u32 listeners[DIRECTIONS];
};
_Static_assert(sizeof(struct walk) == 32, "shared with Python");

enum { SYN_SENT_ALL = 1, SYN_SENT_NOT_LOOPED = 2 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* The listener map of the pod whose turn it is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct listener_map);
} target SEC(".maps");

static __always_inline int direction_of(__u16 port)
{
	if (port == OUTBOUND_PORT)
		return OUTBOUND;
	if (port == INBOUND_PORT)
		return INBOUND;
	return port == HBONE_PORT ? HBONE : -1;
}

SEC("iter/tcp")
int adopt(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tp;
	struct walk *walk;
	__u32 zero = 0, slot, found;
	int direction;
	void *map;

	if (!common || common->skc_state != LISTEN_STATE)
		return 0;
	direction = direction_of(common->skc_num);
	tp = bpf_skc_to_tcp_sock(common);
	/* The mark takes a privilege that applications lack: no one but ztunnel gets its listener into the map. */
	if (direction < 0 || !tp || (tp->inet_conn.icsk_inet.sk.sk_mark & MARK_MASK) != ZTUNNEL_MARK)
		return 0;
	walk = bpf_map_lookup_elem(&walks, &zero);
	map = bpf_map_lookup_elem(&target, &zero);
	if (!walk || !map)
		return 0;
	found = walk->listeners[direction];
	if (found >= MEMBERS)
		return 0;
	slot = direction * MEMBERS + found;
	if (bpf_map_update_elem(map, &slot, tp, BPF_ANY) == 0)
		walk->listeners[direction] = found + 1;
	return 0;
}

static __always_inline int left_by_loopback(struct sock *sk)
{
	struct dst_entry *dst = sk->sk_dst_cache;

	return dst && dst->dev->ifindex == LOOPBACK_IFINDEX;
}

SEC("iter/tcp")
int mark(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct walk *walk;
	struct tcp_sock *tp;
	struct sock *sk;
	__u32 zero = 0, value;

	walk = bpf_map_lookup_elem(&walks, &zero);
	if (!common || !walk || common->skc_state == LISTEN_STATE)
		return 0;
	if (common->skc_state == HALF_OPEN_STATE) {
		struct tcp_request_sock *request = bpf_skc_to_tcp_request_sock(common);

		if (request && (request->req.ir_mark & MARK_MASK) == 0)
			walk->half_open++;
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(common);
	if (!tp)
		return 0;
	sk = &tp->inet_conn.icsk_inet.sk;
	if ((sk->sk_mark & MARK_MASK) != walk->from)
		return 0;
	if (common->skc_state == SYN_SENT_STATE &&
	    (!walk->syn_sent || (walk->syn_sent == SYN_SENT_NOT_LOOPED && left_by_loopback(sk))))
		return 0;
	value = (sk->sk_mark & ~MARK_MASK) | walk->to;
	if (bpf_setsockopt(tp, SOL_SOCKET, SO_MARK, &value, sizeof(value)) == 0)
		walk->marked++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
