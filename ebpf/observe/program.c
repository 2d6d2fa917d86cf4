/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TCP of the watched pods, told by raw tracepoints. Compiled by bcc where it runs.
 *
 * Fields of kernel structures are read at offsets that the caller takes from the running kernel's BTF and passes as
 * macros (SOCK_NET and so on), so that headers of any kernel version serve. *_ARGS is how many arguments a tracepoint has.
 */
#include "event.h"

#define ADDRESS_FAMILY_4 2
#define ADDRESS_FAMILY_6 10
#define ETHERTYPE_4 0x0800
#define ETHERTYPE_6 0x86dd
#define PROTOCOL_TCP 6
#define STATE_TIME_WAIT 6
#define STATE_LISTEN 10
#define STATE_NEW_SYN_RECV 12
#define REASON_CONSUMED 1 /* up to this the packet was not dropped */
#define REFDST_PTR_MASK (~7ULL)
/* A table for people changes a few times a second; tracepoint tcp_probe runs for every segment. */
#define RTT_INTERVAL_NS 250000000ULL
#define RING_PAGES 256
/* What a namespace in watched_netns is: of a watched pod, or one that the packets of watched pods pass through. */
#define ROLE_POD 1
#define ROLE_NEIGHBOUR 2

struct address {
	unsigned char bytes[16];
};

BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_HASH(watched_netns, u32, u8, 4096);
BPF_HASH(watched_address, struct address, u8, 16384);
BPF_TABLE("lru_hash", u64, u64, rtt_told_ns, 16384);
BPF_ARRAY(lost, u64, 1);

#define READ(type, where)                                                          \
	({                                                                         \
		type value_ = 0;                                                   \
		bpf_probe_read_kernel(&value_, sizeof(value_), (void *)(where));   \
		value_;                                                            \
	})

static __always_inline void emit(struct event *e)
{
	e->time_ns = bpf_ktime_get_ns();
	if (events.ringbuf_output(e, sizeof(*e), 0) != 0)
		lost.atomic_increment(0);
}

static __always_inline bool in_watched_pod(struct event *e)
{
	u8 *role = watched_netns.lookup(&e->netns);

	return role && *role == ROLE_POD;
}

static __always_inline bool passes_a_neighbour(struct event *e)
{
	struct address local = {}, remote = {};
	u8 *role = watched_netns.lookup(&e->netns);

	if (!role || *role != ROLE_NEIGHBOUR)
		return false;
	__builtin_memcpy(local.bytes, e->local, sizeof(local.bytes));
	__builtin_memcpy(remote.bytes, e->remote, sizeof(remote.bytes));
	return watched_address.lookup(&local) || watched_address.lookup(&remote);
}

/* Neither a TIME_WAIT nor a request socket, which are cut short, nor a listener, which has no peer. */
static __always_inline bool is_connection(u64 sk)
{
	u16 family = READ(u16, sk + SOCK_FAMILY);
	u8 state = READ(u8, sk + SOCK_STATE);

	if (family != ADDRESS_FAMILY_4 && family != ADDRESS_FAMILY_6)
		return false;
	if (state == STATE_TIME_WAIT || state == STATE_NEW_SYN_RECV || state == STATE_LISTEN)
		return false;
	return READ(u16, sk + SOCK_PROTOCOL) == PROTOCOL_TCP;
}

static __always_inline u32 netns_of_sock(u64 sk)
{
	return READ(u32, READ(u64, sk + SOCK_NET) + NET_INUM);
}

/* The local port and address are the socket's own copies: the bound ones are gone when it closes. */
static __always_inline void describe_sock(struct event *e, u64 sk)
{
	e->socket = sk;
	e->netns = netns_of_sock(sk);
	e->mark = READ(u32, sk + SOCK_MARK);
	e->rtt_us = READ(u32, sk + TCP_SRTT_US) >> 3;
	e->family = READ(u16, sk + SOCK_FAMILY);
	e->old_state = e->new_state = READ(u8, sk + SOCK_STATE);
	e->local_port = bpf_ntohs(READ(u16, sk + INET_SPORT));
	e->remote_port = bpf_ntohs(READ(u16, sk + SOCK_DPORT));
	if (e->family == ADDRESS_FAMILY_4) {
		bpf_probe_read_kernel(e->local, 4, (void *)(sk + INET_SADDR));
		bpf_probe_read_kernel(e->remote, 4, (void *)(sk + SOCK_DADDR));
	} else {
		bpf_probe_read_kernel(e->local, 16, (void *)(sk + SOCK_V6_RCV_SADDR));
		bpf_probe_read_kernel(e->remote, 16, (void *)(sk + SOCK_V6_DADDR));
	}
}

static __always_inline u32 netns_of_skb(u64 skb)
{
	u64 dev = READ(u64, skb + SKB_DEV);

	if (!dev) {
		u64 dst = READ(u64, skb + SKB_REFDST) & REFDST_PTR_MASK;

		dev = dst ? READ(u64, dst + DST_DEV) : 0;
	}
	return dev ? READ(u32, READ(u64, dev + DEV_NET) + NET_INUM) : 0;
}

/* A packet without a socket is one that arrives: its destination is local. Returns whether it is TCP. */
static __always_inline bool describe_skb(struct event *e, u64 skb)
{
	u64 ip = READ(u64, skb + SKB_HEAD) + READ(u16, skb + SKB_NETWORK_HEADER);
	u16 ethertype = bpf_ntohs(READ(u16, skb + SKB_PROTOCOL));
	u8 first = READ(u8, ip);
	u64 tcp;

	if (ethertype == ETHERTYPE_4 && first >> 4 == 4) {
		if (READ(u8, ip + 9) != PROTOCOL_TCP || READ(u16, ip + 6) & bpf_htons(0x1fff))
			return false; /* other protocols; fragments that have no TCP header */
		e->family = ADDRESS_FAMILY_4;
		bpf_probe_read_kernel(e->remote, 4, (void *)(ip + 12));
		bpf_probe_read_kernel(e->local, 4, (void *)(ip + 16));
		tcp = ip + (first & 0xf) * 4;
	} else if (ethertype == ETHERTYPE_6 && first >> 4 == 6) {
		if (READ(u8, ip + 6) != PROTOCOL_TCP)
			return false;
		e->family = ADDRESS_FAMILY_6;
		bpf_probe_read_kernel(e->remote, 16, (void *)(ip + 8));
		bpf_probe_read_kernel(e->local, 16, (void *)(ip + 24));
		tcp = ip + 40;
	} else {
		return false;
	}
	e->remote_port = bpf_ntohs(READ(u16, tcp));
	e->local_port = bpf_ntohs(READ(u16, tcp + 2));
	e->netns = netns_of_skb(skb);
	return true;
}

static __always_inline bool describe(struct event *e, u64 sk, u64 skb)
{
	if (sk && is_connection(sk)) {
		describe_sock(e, sk);
		return true;
	}
	return skb && describe_skb(e, skb);
}

RAW_TRACEPOINT_PROBE(inet_sock_set_state)
{
	struct event e = {.kind = KIND_STATE};
	u64 sk = ctx->args[0];

	if (READ(u16, sk + SOCK_PROTOCOL) != PROTOCOL_TCP)
		return 0;
	describe_sock(&e, sk);
	e.old_state = ctx->args[1];
	e.new_state = ctx->args[2];
	if (in_watched_pod(&e))
		emit(&e);
	return 0;
}

RAW_TRACEPOINT_PROBE(tcp_probe)
{
	struct event e = {.kind = KIND_RTT};
	u64 sk = ctx->args[0], now = bpf_ktime_get_ns(), *told;

	e.netns = netns_of_sock(sk);
	if (!in_watched_pod(&e))
		return 0;
	told = rtt_told_ns.lookup(&sk);
	if (told && now - *told < RTT_INTERVAL_NS)
		return 0;
	rtt_told_ns.update(&sk, &now);
	describe_sock(&e, sk);
	emit(&e);
	return 0;
}

RAW_TRACEPOINT_PROBE(tcp_retransmit_skb)
{
	struct event e = {.kind = KIND_RETRANSMIT};

	if (describe(&e, ctx->args[0], 0) && in_watched_pod(&e))
		emit(&e);
	return 0;
}

RAW_TRACEPOINT_PROBE(tcp_send_reset)
{
	struct event e = {.kind = KIND_RESET_SENT};

	if (!describe(&e, ctx->args[0], ctx->args[1]) || !in_watched_pod(&e))
		return 0;
#if TCP_SEND_RESET_ARGS >= 3
	e.reason = ctx->args[2];
#endif
	emit(&e);
	return 0;
}

RAW_TRACEPOINT_PROBE(tcp_receive_reset)
{
	struct event e = {.kind = KIND_RESET_RECEIVED};

	if (describe(&e, ctx->args[0], 0) && in_watched_pod(&e))
		emit(&e);
	return 0;
}

/* Also outside the pod's namespace: its packets may be dropped on the node, or in the pod that they are for. */
RAW_TRACEPOINT_PROBE(kfree_skb)
{
	struct event e = {.kind = KIND_DROP, .reason = ctx->args[2]};
	u64 skb = ctx->args[0], sk = 0;

	/* What is empty is the end of a stream that lay in a queue, not a packet. */
	if (e.reason <= REASON_CONSUMED || !READ(u32, skb + SKB_LEN))
		return 0;
#if KFREE_SKB_ARGS >= 4
	sk = ctx->args[3];
#endif
	if (!sk)
		sk = READ(u64, skb + SKB_SK);
	if (describe(&e, sk, skb) && (in_watched_pod(&e) || passes_a_neighbour(&e)))
		emit(&e);
	return 0;
}
