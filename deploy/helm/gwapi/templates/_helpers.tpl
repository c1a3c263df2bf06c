{{/* A name of 40 characters at most. One that is cut ends in a hash of the whole, so that another with the
same beginning is another name still. */}}
{{- define "gwapi.cut" -}}
{{- if gt (len .) 40 -}}
{{- printf "%s-%s" (. | trunc 31 | trimSuffix "-") (. | sha256sum | trunc 8) -}}
{{- else -}}
{{- . | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Prefix of the names of what is installed. Where two releases of a namespace come to the same one, as
`a` and `a-gwapi` do, Helm refuses the second, and `fullnameOverride` helps. */}}
{{- define "gwapi.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- include "gwapi.cut" .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- include "gwapi.cut" .Release.Name -}}
{{- else -}}
{{- include "gwapi.cut" (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- end -}}

{{/* Name of the controller's Deployment, Service and the like. */}}
{{- define "gwapi.controller" -}}
{{- printf "%s-controller" (include "gwapi.fullname" .) -}}
{{- end -}}

{{/* Name of what belongs to no namespace, or lies in one of others: releases in two namespaces never share
it. The hash keeps `b-gwapi` in `a` apart from `gwapi` in `a-b`. */}}
{{- define "gwapi.clusterName" -}}
{{- $controller := include "gwapi.controller" . -}}
{{- $hash := printf "%s/%s" .Release.Namespace $controller | sha256sum | trunc 8 -}}
{{- printf "%s-%s-%s" .Release.Namespace $controller $hash -}}
{{- end -}}

{{- define "gwapi.serviceAccount" -}}
{{- if .Values.controller.serviceAccount.create -}}
{{- default (include "gwapi.controller" .) .Values.controller.serviceAccount.name -}}
{{- else -}}
{{- required "controller.serviceAccount.name is needed where controller.serviceAccount.create is false" .Values.controller.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Two controllers of one name would change each other's proxies back for ever. What another one may do in
the cluster tells: each has a ClusterRole, whoever makes the GatewayClasses. None is seen where there is no cluster
to ask, as with `helm template`. */}}
{{- define "gwapi.refuseNamesake" -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items -}}
{{- $made := .metadata.annotations | default dict -}}
{{- $release := index $made "meta.helm.sh/release-name" | default "" -}}
{{- $namespace := index $made "meta.helm.sh/release-namespace" | default "" -}}
{{- $isOfRelease := and (eq $release $.Release.Name) (eq $namespace $.Release.Namespace) -}}
{{- $isOwn := or $isOfRelease (eq .metadata.name (include "gwapi.clusterName" $)) -}}
{{- if and (not $isOwn) (eq (index $made "gwapi.dev/controller-name" | default "") $.Values.controller.name) -}}
{{- $who := ternary (printf "release %s in namespace %s" $release $namespace) "another installation" (ne $release "") -}}
{{- fail (printf "%s has a controller of the name %s already, see ClusterRole %s: set controller.name to another" $who $.Values.controller.name .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gwapi.selector" -}}
app.kubernetes.io/name: gwapi-controller
app.kubernetes.io/instance: {{ .Release.Name | quote }}
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
