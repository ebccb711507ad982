{{- define "comptroller.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "comptroller.serviceAccountName" . }}
{{- end }}

{{- /*
Kubernetes' own accounts that write Jobs, pods and custom resources, and why. They are in namespace kube-system; a
controller manager that runs its controllers under one account is listed separately.
*/ -}}
{{- define "comptroller.controllers" -}}
job-controller: creates and deletes a Job's pods, removes its finalizer from them, writes the Job's status
generic-garbage-collector: deletes what a deleted study owned
namespace-controller: empties a namespace that is deleted
ttl-after-finished-controller: deletes finished Jobs
pod-garbage-collector: ends and deletes pods of nodes that are gone
node-controller: marks pods of a silent node, evicts by taint
taint-eviction-controller: evicts by taint, where it has its own account
device-taint-eviction-controller: evicts pods from devices that are taken out of service
disruption-controller: removes the announcement of a disruption that did not happen
resourceclaim-controller: writes a pod's claims into its status
storage-version-migrator-controller: stores each object again, as it is, in a newer version
{{- end }}

{{- /* CEL: the requester is the operator, a kubelet, a controller of Kubernetes, or an account that the values trust. */ -}}
{{- define "comptroller.isTrusted" -}}
{{- $users := list (include "comptroller.operatorUser" .) "system:kube-controller-manager" "system:kube-scheduler" }}
{{- range $name := keys (include "comptroller.controllers" . | fromYaml) | sortAlpha }}
{{- $users = append $users (printf "system:serviceaccount:kube-system:%s" $name) }}
{{- end }}
{{- $users = concat $users .Values.policies.trustedUsers | uniq -}}
('system:nodes' in request.userInfo.?groups.orValue([])) ||
request.userInfo.username in {{ $users | toJson }}
{{- end }}

{{- /* CEL: the requester may override the policies, as cluster administrators may; for objects of a namespace. */ -}}
{{- define "comptroller.mayOverride" -}}
authorizer.group('comptroller.dev').resource('trials').namespace(request.?namespace.orValue('')).check('override').allowed()
{{- end }}

{{- /* CEL: the object that the given expression names is managed, by its label. */ -}}
{{- define "comptroller.isManaged" -}}
{{ . }}.?metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'comptroller'
{{- end }}

{{- /* The name of an attempt's Job: <study>-<uid>-<trial>-<attempt>. */ -}}
{{- define "comptroller.attemptName" -}} ^[a-z][a-z0-9-]*-[0-9a-f]{8}-[0-9]{4}-[0-9]{1,6}$ {{- end }}

{{- /* The name of a pod of such a Job, also of an Indexed Job. */ -}}
{{- define "comptroller.attemptPod" -}} ^[a-z][a-z0-9-]*-[0-9a-f]{8}-[0-9]{4}-[0-9]{1,6}(-[0-9]{1,2})?-?[a-z0-9]{5}$ {{- end }}

{{- /* Metadata of a policy or its binding. Takes a list of the root and the policy's name. */ -}}
{{- define "comptroller.policyMetadata" -}}
name: {{ include "comptroller.fullname" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "comptroller.labels" (index . 0) | nindent 2 }}
{{- end }}

{{- /*
The binding of a policy. It holds in the namespaces that the operator watches and in the operator's own, or in all with
`everywhere`. Takes a dict: `root`, `policy`, `suffix` of the binding's name, and optionally `namespaces` (requirements of
a namespace's labels), `rules` (fewer resources than the policy's) and `action`.
*/ -}}
{{- define "comptroller.policyBinding" -}}
{{- $expressions := .namespaces | default list }}
{{- if and .root.Values.watchNamespaces (not .everywhere) }}
{{- $names := append .root.Values.watchNamespaces .root.Release.Namespace | uniq }}
{{- $name := dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" $names }}
{{- $expressions = append $expressions $name }}
{{- end -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "comptroller.policyMetadata" (list .root (print .policy .suffix)) | nindent 2 }}
spec:
  policyName: {{ include "comptroller.fullname" .root }}-{{ .policy }}
  validationActions: [{{ .action | default "Deny" }}]
  {{- if or $expressions .rules }}
  matchResources:
    {{- with $expressions }}
    namespaceSelector:
      matchExpressions:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- with .rules }}
    resourceRules:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* CEL: an image is among the allowed ones, by the rules of `trainer.allowedImages`. Takes a list of an expression and JSON. */ -}}
{{- define "comptroller.imageAllowed" -}}
{{- $image := index . 0 -}}
{{ index . 1 }}.exists(a, a.endsWith('/') ? {{ $image }}.startsWith(a) : {{ $image }} == a || (({{ $image }}.startsWith(a + ':') || {{ $image }}.startsWith(a + '@')) && !{{ $image }}.substring(size(a)).contains('/')))
{{- end }}

{{- /*
CEL: the labels, a map for each, of the pod that an object is or of the pods that the object's template makes. Takes an
expression that names the object.
*/ -}}
{{- define "comptroller.podLabels" -}}
(request.kind.kind == 'Pod' ? [{{ . }}.metadata.?labels.orValue({})] :
request.kind.kind == 'PodTemplate' ? [{{ . }}.?template.?metadata.?labels.orValue({})] :
request.kind.kind == 'CronJob' ? [{{ . }}.spec.?jobTemplate.?spec.?template.?metadata.?labels.orValue({})] :
[{{ . }}.spec.?template.?metadata.?labels.orValue({})])
{{- end }}

{{- /* The form of an object's uid. */ -}}
{{- define "comptroller.uid" -}} ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ {{- end }}
