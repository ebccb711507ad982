{{- define "comptroller.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "comptroller.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "comptroller.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "comptroller.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "comptroller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "comptroller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "comptroller.labels" -}}
{{ include "comptroller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: comptroller
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "comptroller.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "comptroller.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* An image with its digest, or with its tag if it has no digest. Takes a list of the image and the root. */ -}}
{{- define "comptroller.image" -}}
{{- $image := index . 0 }}
{{- $root := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- /* The trainer images that studies may name, as JSON, including the default one; an empty list allows any image. */ -}}
{{- define "comptroller.allowedImages" -}}
{{- with .Values.trainer.allowedImages }}
{{- append . (include "comptroller.image" (list $.Values.trainer.image $)) | uniq | toJson }}
{{- else }}
{{- list | toJson }}
{{- end }}
{{- end }}
