{{- /* What the DaemonSet and the one that cleans up have in common: the agent's container, and the node's directories. */ -}}
{{- define "ambient.agentEnv" -}}
- {name: SOURCE, value: kubernetes}
- {name: CAPTURE, value: {{ .Values.agent.capture }}}
- {name: BPFFS, value: {{ .Values.agent.bpffs }}}
- {name: INPOD_UDS, value: /var/run/ztunnel/ztunnel.sock}
- {name: OWNERSHIP_FILE, value: /run/ambient/owner}
- {name: CNI_SOCKET, value: {{ ternary "/run/ambient/cni.sock" "" .Values.cni.enabled | quote }}}
{{- if .Values.cni.enabled }}
- {name: CNI_BIN_DIR, value: /host/cni/bin}
- {name: CNI_CONF_DIR, value: /host/cni/net.d}
# Pods of these start before the agent does, and without it.
- {name: CNI_EXCLUDE_NAMESPACES, value: "kube-system,{{ .Release.Namespace }}"}
{{- end }}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
# After NODE_NAME, which it may name.
- {name: HOST_NETNS, value: {{ .Values.agent.hostNetns }}}
{{- with .Values.agent.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ambient.agentMounts" -}}
- {name: scratch, mountPath: /run}
- {name: run, mountPath: /run/ambient}
- {name: zds, mountPath: /var/run/ztunnel}
- {name: tmp, mountPath: /tmp}
- {name: bpffs, mountPath: /sys/fs/bpf}
{{- if .Values.cni.enabled }}
- {name: cni-bin, mountPath: /host/cni/bin}
- {name: cni-conf, mountPath: /host/cni/net.d}
{{- end }}
{{- with .Values.agent.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ambient.agentVolumes" -}}
# iptables keeps its lock in /run.
- {name: scratch, emptyDir: {medium: Memory}}
- {name: tmp, emptyDir: {}}
- {name: zds, emptyDir: {medium: Memory}}
- name: run
  hostPath: {path: {{ .Values.agent.runDirectory }}, type: DirectoryOrCreate}
- name: bpffs
  hostPath: {path: /sys/fs/bpf, type: Directory}
{{- if .Values.cni.enabled }}
- name: cni-bin
  hostPath: {path: {{ .Values.cni.binDirectory }}, type: DirectoryOrCreate}
- name: cni-conf
  hostPath: {path: {{ .Values.cni.confDirectory }}, type: DirectoryOrCreate}
{{- end }}
{{- with .Values.daemonset.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
