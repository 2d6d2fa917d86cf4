#!/bin/bash
# Process 1 of a node: it has a network, mount, process and host-name namespace of its own. Keeps containerd, kubelet and kube-proxy running.
# NODE_DIR: what is this node's own. NODE_NAME, BINARIES: see node.py.
set -euo pipefail

hostname "$NODE_NAME"
# Mounts of the node reach the containers that ask for that, and nobody else.
mount --make-rshared /
# What nodes have in common on this machine, and would not on machines of their own.
for path in /run/ambient /run/containerd /opt/cni/bin /etc/cni/net.d /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers; do
  mkdir -p "$NODE_DIR/root$path" "$path"
  mount --bind "$NODE_DIR/root$path" "$path"
  mount --make-rshared "$path"
done
mount -t tmpfs tmpfs /run/netns
mount --make-shared /run/netns
mount -t bpf bpf /sys/fs/bpf
mount --make-shared /sys/fs/bpf
cp -a /usr/lib/cni/. /opt/cni/bin/
cp "$NODE_DIR/cni.conflist" /etc/cni/net.d/10-bridge.conflist

# Beyond the nodes nobody knows the way to pods: to everywhere else they come from their node.
iptables -w -t nat -A POSTROUTING -s "$POD_NETWORK_4" ! -d "$POD_NETWORK_4" -o eth0 -j MASQUERADE
ip6tables -w -t nat -A POSTROUTING -s "$POD_NETWORK_6" ! -d "$POD_NETWORK_6" -o eth0 -j MASQUERADE

keep() { # NAME COMMAND...: as an init system would
  local name=$1
  shift
  while :; do
    "$@" >>"$NODE_DIR/$name.log" 2>&1 &
    echo $! >"$NODE_DIR/$name.pid"
    wait $! || true
    sleep 1
  done
}

keep containerd containerd --config "$NODE_DIR/containerd.toml" &
until [ -S "$NODE_DIR/containerd.sock" ]; do sleep 0.05; done
keep kubelet "$BINARIES/kubelet" --kubeconfig "$NODE_DIR/kubelet.kubeconfig" --config "$NODE_DIR/kubelet.json" \
  --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESSES" &
keep kube-proxy "$BINARIES/kube-proxy" --config "$NODE_DIR/kube-proxy.json" --hostname-override "$NODE_NAME" &
# Whatever loses its parent is this process's child.
while :; do wait -n || sleep 1; done
