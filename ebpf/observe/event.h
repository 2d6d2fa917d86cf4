/* SPDX-License-Identifier: GPL-2.0 */
/* One event as the kernel writes it and ebpf/observe/process.py reads it. */
#ifndef AMBIENT_OBSERVE_EVENT_H
#define AMBIENT_OBSERVE_EVENT_H

enum kind {
	KIND_STATE = 1,
	KIND_RTT = 2,
	KIND_RETRANSMIT = 3,
	KIND_RESET_SENT = 4,
	KIND_RESET_RECEIVED = 5,
	KIND_DROP = 6,
};

/* Ports are in host order. Addresses are in network order; of an IPv4 address the first 4 bytes count. */
struct event {
	unsigned long long time_ns; /* CLOCK_MONOTONIC */
	unsigned long long socket;  /* address of the struct sock: tells sockets apart while they live; 0: no socket */
	unsigned int netns;	    /* inode of the network namespace */
	unsigned int mark;
	unsigned int rtt_us; /* smoothed; 0: not measured yet */
	unsigned int reason; /* of a drop or of a reset that was sent; 0: none given */
	unsigned char kind;
	unsigned char family; /* AF_INET or AF_INET6 */
	unsigned char old_state;
	unsigned char new_state;
	unsigned short local_port;
	unsigned short remote_port;
	unsigned char local[16];
	unsigned char remote[16];
};

_Static_assert(sizeof(struct event) == 72, "the layout is fixed");

#endif
