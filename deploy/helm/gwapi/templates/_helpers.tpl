{{/* Prefix of the names of what is installed: no two releases of a namespace share it. */}}
{{- define "gwapi.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of the controller's Deployment, Service and the like. */}}
{{- define "gwapi.controller" -}}
{{- printf "%s-controller" (include "gwapi.fullname" .) -}}
{{- end -}}

{{/* Name of what belongs to no namespace: no two releases of a cluster share it. */}}
{{- define "gwapi.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "gwapi.controller" .) -}}
{{- end -}}

{{- define "gwapi.serviceAccount" -}}
{{- if .Values.controller.serviceAccount.create -}}
{{- default (include "gwapi.controller" .) .Values.controller.serviceAccount.name -}}
{{- else -}}
{{- required "controller.serviceAccount.name is needed where controller.serviceAccount.create is false" .Values.controller.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gwapi.selector" -}}
app.kubernetes.io/name: gwapi-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gwapi.labels" -}}
{{ include "gwapi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image: (list . .Values.x.image) */}}
{{- define "gwapi.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with $root.Values.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
