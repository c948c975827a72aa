{{- define "forgelog.labels" -}}
app.kubernetes.io/name: forgelog
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "forgelog.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "forgelog.keys" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" .Release.Name) }}
{{- end }}

{{- /* Where each context answers queries. */ -}}
{{- define "forgelog.addresses" -}}
{{- $found := list }}
{{- range $name, $process := .Values.services }}
{{- range $process.contexts }}
{{- $found = append $found (printf "%s=%s-%s:5000" . $.Release.Name $name) }}
{{- end }}
{{- end }}
{{- join "," $found }}
{{- end }}

{{- /* What every process is told, node agents too. */ -}}
{{- define "forgelog.everyone" -}}
- name: FORGELOG_KAFKA
  value: {{ required "kafka.bootstrap is missing; give host:port of your Kafka" .Values.kafka.bootstrap | quote }}
{{- if .Values.kafka.configSecret }}
- name: FORGELOG_KAFKA_CONFIG
  value: /kafka/kafka.properties
{{- end }}
- name: FORGELOG_REPLICAS_KEY_FILE
  value: /keys/replicas.key
{{- with .Values.otlpEndpoint }}
- name: FORGELOG_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "forgelog.gatewayAddress" -}}
- name: FORGELOG_GATEWAY
  value: {{ printf "%s-gateway:%v" .Release.Name .Values.gateway.service.port | quote }}
{{- end }}

{{- /* What services, gateway and routers are told besides. An agent runs other people's programs, and is not. */ -}}
{{- define "forgelog.environment" -}}
{{ include "forgelog.everyone" . }}
- name: FORGELOG_POSTGRES
  valueFrom:
    secretKeyRef:
      name: {{ required "postgres.urlSecret is missing; name a Secret whose key url is the database's URL" .Values.postgres.urlSecret }}
      key: url
- name: FORGELOG_LISTEN
  value: 0.0.0.0:5000
- name: FORGELOG_SERVICES
  value: {{ include "forgelog.addresses" . | quote }}
- name: FORGELOG_SERVICES_KEY_FILE
  value: /keys/services.key
- name: FORGELOG_OBJECTS
  value: {{ required "objects.url is missing; give an object store, such as s3://bucket/folder" .Values.objects.url | quote }}
{{- end }}

{{- define "forgelog.environmentFrom" -}}
{{- with .Values.objects.environmentSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "forgelog.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "forgelog.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Keys are root's and readable for the platform's group. Call with the context and the keys' names. */ -}}
{{- define "forgelog.keyVolume" -}}
- name: keys
  secret:
    secretName: {{ include "forgelog.keys" .context }}
    defaultMode: 0440
    items:
      {{- range .names }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}

{{- define "forgelog.volumes" -}}
{{- if .Values.kafka.configSecret }}
- name: kafka
  secret: {secretName: {{ .Values.kafka.configSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "forgelog.mounts" -}}
- {name: keys, mountPath: /keys, readOnly: true}
{{- if .Values.kafka.configSecret }}
- {name: kafka, mountPath: /kafka, readOnly: true}
{{- end }}
{{- end }}
