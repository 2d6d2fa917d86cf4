"""The node proxy: carries the connections of its node's pods in mutual TLS, as discovery and policy say."""
