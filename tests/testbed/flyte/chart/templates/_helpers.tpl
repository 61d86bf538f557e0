{{- /*
Copyright (c) flyte.onprem contributors
GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
*/}}
{{/* Names */}}

{{- define "flyte.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's name added unless it is part of it. */}}
{{- define "flyte.fullname" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name }}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) }}
{{- .Values.fullnameOverride | default $release | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "flyte.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "flyte.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* Not empty when the configuration comes from the user's own ConfigMap or Secret. */}}
{{- define "flyte.external" -}}
{{ .Values.configuration.externalConfigMap | default .Values.configuration.externalSecretRef | default "" }}
{{- end }}

{{/* The names by which the auth client secrets are known. */}}
{{- define "flyte.clientSecrets" -}}
{{ tpl (.Values.configuration.auth.clientSecretsExternalSecretRef | default (printf "%s-client-secrets" (include "flyte.fullname" .))) . }}
{{- end }}

{{- define "flyte.httpPort" -}}{{ .Values.service.ports.http | default 8088 }}{{- end }}
{{- define "flyte.grpcPort" -}}{{ .Values.service.ports.grpc | default 8089 }}{{- end }}

{{/* Building blocks */}}

{{/* A value as YAML, with the templates in it rendered: (dict "root" $ "value" x) */}}
{{- define "flyte.tpl" -}}
{{ tpl (toYaml .value) .root }}
{{- end }}

{{/* Several maps as one, templates rendered, later ones winning; nothing if all are empty: (dict "root" $ "maps" (list ...)) */}}
{{- define "flyte.merged" -}}
{{- $merged := dict }}
{{- range .maps }}
{{- if . }}
{{- $merged = mergeOverwrite $merged (include "flyte.tpl" (dict "root" $.root "value" .) | fromYaml) }}
{{- end }}
{{- end }}
{{- if $merged }}{{ toYaml $merged }}{{ end }}
{{- end }}

{{- define "flyte.selector" -}}
app.kubernetes.io/name: {{ include "flyte.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: flyte-binary
{{- end }}

{{/* Metadata of an object: (dict "root" $ "name" "..." "labels" (list ...) "annotations" (list ...)) */}}
{{- define "flyte.metadata" -}}
{{- $own := dict
    "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
    "app.kubernetes.io/name" (include "flyte.name" .root)
    "app.kubernetes.io/instance" .root.Release.Name
    "app.kubernetes.io/version" .root.Chart.AppVersion
    "app.kubernetes.io/managed-by" .root.Release.Service }}
name: {{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "flyte.merged" (dict "root" .root "maps" (concat (list $own .root.Values.commonLabels) (.labels | default list))) | nindent 2 }}
{{- with include "flyte.merged" (dict "root" .root "maps" (concat (list .root.Values.commonAnnotations) (.annotations | default list))) }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "flyte.image" -}}
image: {{ printf "%s:%s" .repository .tag | quote }}
imagePullPolicy: {{ .pullPolicy | quote }}
{{- end }}
