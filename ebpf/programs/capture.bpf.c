/* Capture of one pod: which socket takes a connection that enters, leaves or loops through the pod's namespace.
 *
 * A policy route loops the pod's outgoing TCP back in over lo; "capture" (sk_lookup, on the namespace) then hands it to ztunnel's
 * outbound listener, and what comes from the network to the inbound ones. Only packets that meet no established socket get here.
 * "loop" (TC, ingress of lo) recognises ztunnel's own connections to the application, so that they are not captured again.
 * One instance of the programs and maps a pod. On a map miss: refuse; nothing passes ztunnel because a lookup failed.
 */
#include "capture.h"

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#define AF_INET 2
#define LISTEN_STATE 10 /* TCP_LISTEN, include/net/tcp_states.h */
#define OWN_ADDRESSES 64
#define ORIGINALS 64
#define ORIGINAL_NAME 64

struct settings {
	/* CLOCK_MONOTONIC. Until then no new connection leaves, and what meets no socket is dropped silently for TCP to send again:
	 * capture is being switched on or off, and sockets are being marked. A deadline, so that a dead agent leaves no dam. */
	__u64 hold_until_ns;
	/* 0: plaintext from the network goes to the application (capture is ending). */
	__u32 inbound;
	__u32 reserved;
};
_Static_assert(sizeof(struct settings) == 16, "shared with Python");

struct flow {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
};

struct listener_map listeners SEC(".maps");

/* Addresses of the pod's namespace, loopback aside. The value means nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OWN_ADDRESSES);
	__type(key, struct address);
	__type(value, __u32);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* The SYN of ztunnel that "loop" saw last on this CPU: the stack comes to "capture" with it before it takes the next packet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} dialled SEC(".maps");

/* The agent's own notes: sysctls as they were before capture. Kept here because they must live as long as the pins. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ORIGINALS);
	__type(key, char[ORIGINAL_NAME]);
	__type(value, __s64);
} originals SEC(".maps");

static __always_inline void map_ipv4(struct address *out, __be32 ip)
{
	out->word[0] = 0;
	out->word[1] = 0;
	out->word[2] = bpf_htonl(0xffff);
	out->word[3] = ip;
}

static __always_inline int is_loopback(const struct address *ip)
{
	if (ip->word[0] | ip->word[1])
		return 0;
	if (ip->word[2] == bpf_htonl(0xffff))
		return (ip->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return ip->word[2] == 0 && ip->word[3] == bpf_htonl(1);
}

static __always_inline int is_own(const struct address *ip)
{
	return is_loopback(ip) || bpf_map_lookup_elem(&own, ip);
}

/* 169.254.7.127 and fd16:9254:7127:1337:ffff:ffff:ffff:ffff: where the ecosystem's node probes come from. */
static __always_inline int is_probe(const struct address *ip)
{
	if (ip->word[2] == bpf_htonl(0xffff) && !(ip->word[0] | ip->word[1]))
		return ip->word[3] == bpf_htonl(0xa9fe077f);
	return ip->word[0] == bpf_htonl(0xfd169254) && ip->word[1] == bpf_htonl(0x71271337) && ip->word[2] == 0xffffffff &&
	       ip->word[3] == 0xffffffff;
}

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

/* volatile, and both families at once: the verifier refuses the arithmetic on the context pointer that the compiler would make of
 * two branches. The members of the other family read as 0. */
static __always_inline void read_lookup(const volatile struct bpf_sk_lookup *ctx, struct flow *flow)
{
	__u32 remote = ctx->remote_ip4, local = ctx->local_ip4;

	flow->source = (struct address){ { ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3] } };
	flow->destination = (struct address){ { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] } };
	if (ctx->family == AF_INET) {
		map_ipv4(&flow->source, remote);
		map_ipv4(&flow->destination, local);
	}
	flow->source_port = bpf_ntohs(ctx->remote_port);
	flow->destination_port = ctx->local_port;
}

/* Whether this is the connection that ztunnel just opened to the application; asked once for each. */
static __always_inline int take_dialled(const struct flow *flow)
{
	__u32 zero = 0;
	struct flow *last = bpf_map_lookup_elem(&dialled, &zero);

	if (!last || last->source_port != flow->source_port || last->destination_port != flow->destination_port ||
	    !same_address(&last->source, &flow->source) || !same_address(&last->destination, &flow->destination))
		return 0;
	last->source_port = 0;
	return 1;
}

/* Any listener of the row; none: ztunnel is away, and the connection is refused. */
static __always_inline int assign(struct bpf_sk_lookup *ctx, enum direction direction)
{
	for (__u32 member = 0; member < MEMBERS; member++) {
		__u32 slot = direction * MEMBERS + member;
		struct bpf_sock *sk = bpf_map_lookup_elem(&listeners, &slot);
		long error;

		if (!sk)
			continue;
		error = bpf_sk_assign(ctx, sk, 0);
		bpf_sk_release(sk);
		if (!error)
			return SK_PASS;
	}
	return SK_DROP;
}

SEC("sk_lookup")
int capture(struct bpf_sk_lookup *ctx)
{
	struct flow flow = {};
	struct settings *now;
	__u32 zero = 0;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	read_lookup(ctx, &flow);
	if (is_loopback(&flow.destination))
		return SK_PASS;
	if (is_own(&flow.source))
		return is_own(&flow.destination) ? SK_PASS : assign(ctx, OUTBOUND);
	if (is_probe(&flow.source) || take_dialled(&flow))
		return SK_PASS;
	if (flow.destination_port == HBONE_PORT)
		return assign(ctx, HBONE);
	now = bpf_map_lookup_elem(&settings, &zero);
	if (now && !now->inbound)
		return SK_PASS;
	return assign(ctx, INBOUND);
}

/* Reads the addresses and the TCP header; 0: not TCP. */
static __always_inline int read_packet(struct __sk_buff *skb, struct flow *flow, struct tcphdr *tcp)
{
	__u32 offset = sizeof(struct ethhdr);

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP)
			return 0;
		map_ipv4(&flow->source, ip.saddr);
		map_ipv4(&flow->destination, ip.daddr);
		offset += ip.ihl * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(&flow->source, &ip.saddr, sizeof(flow->source));
		__builtin_memcpy(&flow->destination, &ip.daddr, sizeof(flow->destination));
		offset += sizeof(ip);
	} else {
		return 0;
	}
	if (bpf_skb_load_bytes(skb, offset, tcp, sizeof(*tcp)))
		return 0;
	flow->source_port = bpf_ntohs(tcp->source);
	flow->destination_port = bpf_ntohs(tcp->dest);
	return 1;
}

/* Whether an established (or half-open) connection of this namespace takes the packet. */
static __always_inline int has_connection(struct __sk_buff *skb, const struct flow *flow)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int connected;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		tuple.ipv4.saddr = flow->source.word[3];
		tuple.ipv4.daddr = flow->destination.word[3];
		tuple.ipv4.sport = bpf_htons(flow->source_port);
		tuple.ipv4.dport = bpf_htons(flow->destination_port);
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &flow->source, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &flow->destination, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = bpf_htons(flow->source_port);
		tuple.ipv6.dport = bpf_htons(flow->destination_port);
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	connected = sk->state != LISTEN_STATE;
	bpf_sk_release(sk);
	return connected;
}

/* ztunnel opens a connection to the application: capture lets it pass, and (tcp_fwmark_accept) the application's end
 * takes over the mark, whose rule brings its replies back over lo for as long as the connection lives. */
static __always_inline void note_dial(struct __sk_buff *skb, const struct flow *flow)
{
	__u32 zero = 0;

	bpf_map_update_elem(&dialled, &zero, flow, BPF_ANY);
	skb->mark = (skb->mark & ~MARK_MASK) | LOOP_MARK;
}

SEC("tc")
int loop(struct __sk_buff *skb)
{
	__u32 zero = 0, mark = skb->mark & MARK_MASK;
	struct flow flow = {};
	struct settings *now;
	struct tcphdr tcp;
	int opening;

	if (!read_packet(skb, &flow, &tcp))
		return TC_ACT_UNSPEC;
	opening = tcp.syn && !tcp.ack;
	if (mark == ZTUNNEL_MARK) {
		if (opening && is_own(&flow.destination) && !is_loopback(&flow.destination))
			note_dial(skb, &flow);
		return TC_ACT_UNSPEC;
	}
	now = bpf_map_lookup_elem(&settings, &zero);
	if (!now || mark || bpf_ktime_get_ns() >= now->hold_until_ns || is_own(&flow.destination))
		return TC_ACT_UNSPEC;
	return opening || !has_connection(skb, &flow) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
