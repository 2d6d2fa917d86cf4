"""What the observation program must be told about the running kernel, as macros for its compilation."""

from ebpf.observe.btf import Btf, BtfError

# Macro of program.c: the field whose offset it is.
FIELDS = {
    "SOCK_FAMILY": "sock.__sk_common.skc_family",
    "SOCK_STATE": "sock.__sk_common.skc_state",
    "SOCK_NET": "sock.__sk_common.skc_net",
    "SOCK_DPORT": "sock.__sk_common.skc_dport",
    "SOCK_DADDR": "sock.__sk_common.skc_daddr",
    "SOCK_V6_DADDR": "sock.__sk_common.skc_v6_daddr",
    "SOCK_V6_RCV_SADDR": "sock.__sk_common.skc_v6_rcv_saddr",
    "SOCK_MARK": "sock.sk_mark",
    "SOCK_PROTOCOL": "sock.sk_protocol",
    "INET_SPORT": "inet_sock.inet_sport",
    "INET_SADDR": "inet_sock.inet_saddr",
    "TCP_SRTT_US": "tcp_sock.srtt_us",
    "NET_INUM": "net.ns.inum",
    "SKB_SK": "sk_buff.sk",
    "SKB_DEV": "sk_buff.dev",
    "SKB_LEN": "sk_buff.len",
    "SKB_HEAD": "sk_buff.head",
    "SKB_NETWORK_HEADER": "sk_buff.network_header",
    "SKB_PROTOCOL": "sk_buff.protocol",
    "SKB_REFDST": "sk_buff._skb_refdst",
    "DST_DEV": "dst_entry.dev",
    "DEV_NET": "net_device.nd_net",
}
# Tracepoint: the least arguments that the program needs. The kernel gives a reason for drops since 5.17, for resets since 6.10.
TRACEPOINTS = {
    "inet_sock_set_state": 3,
    "tcp_probe": 1,
    "tcp_retransmit_skb": 1,
    "tcp_send_reset": 2,
    "tcp_receive_reset": 1,
    "kfree_skb": 3,
}
_DROP_PREFIX, _RESET_PREFIX = "SKB_DROP_REASON_", "SK_RST_REASON_"


def macros(btf: Btf) -> tuple[str, ...]:
    """Compiler arguments that tell program.c about this kernel.

    Raises:
        BtfError: the kernel lacks a field or a tracepoint, or the tracepoint has fewer arguments than the program needs.
    """
    flags = [f"-D{macro}={btf.offset_of(path)}" for macro, path in FIELDS.items()]
    for tracepoint, least in TRACEPOINTS.items():
        arguments = btf.tracepoint_arguments(tracepoint)
        if arguments < least:
            raise BtfError(f"tracepoint {tracepoint} has {arguments} arguments, of which {least} are needed")
        flags.append(f"-D{tracepoint.upper()}_ARGS={arguments}")
    return tuple(flags)


def drop_reasons(btf: Btf) -> dict[int, str]:
    """The kernel's names of why it drops a packet, without their common prefix."""
    return {value: name.removeprefix(_DROP_PREFIX) for value, name in btf.enumerators("skb_drop_reason").items()}


def reset_reasons(btf: Btf) -> dict[int, str]:
    """The kernel's names of why it sends a reset; empty before 6.10."""
    return {value: name.removeprefix(_RESET_PREFIX) for value, name in btf.enumerators("sk_rst_reason").items()}
