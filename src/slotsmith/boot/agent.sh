# What follows is the same on every instance; all that differs stands above, in quoted variables.

STATE="${SLOTSMITH_STATE:-/var/lib/slotsmith}"
METADATA="${SLOTSMITH_METADATA:-http://169.254.169.254}"
CONSOLE="${SLOTSMITH_CONSOLE:-/dev/console}"
WATCHER=''

umask 077
mkdir -p "$STATE" "$FILES"

# --- telling what happens -------------------------------------------------------------------------------------------

say() {
  printf 'slotsmith: %s\n' "$*"
  # The serial console can be read from outside when nothing else of the instance can.
  { printf 'slotsmith: %s\n' "$*" >"$CONSOLE"; } 2>/dev/null || true
}

# report STAGE TEXT: on the console, and where the cloud shows it beside the instance, if it may be written there.
report() {
  say "$1: $2"
  printf '%s: %s\n' "$1" "$2" >"$STATE/stage"
  case "$CLOUD" in
    ec2)
      command -v aws >/dev/null 2>&1 || return 0
      timeout 20 aws ec2 create-tags --region "$REGION" --resources "$INSTANCE_ID" \
        --tags "Key=slotsmith-boot,Value=${1}: ${2:0:200}" >/dev/null 2>&1 || true
      ;;
    gce)
      curl -sf -m 5 -X PUT -H 'Metadata-Flavor: Google' --data "${1}: ${2:0:200}" \
        "$METADATA/computeMetadata/v1/instance/guest-attributes/slotsmith/boot" >/dev/null 2>&1 || true
      ;;
  esac
}

power_off() {
  shutdown -h now || poweroff -f
}

# fail TEXT: this instance will never be of use. It stays for a while, so that somebody can look, and is paid for no
# longer than that.
fail() {
  trap stop_watching EXIT
  report failed "$1; shutting down in ${FAILED_BOOT_GRACE} s"
  sleep "$FAILED_BOOT_GRACE"
  power_off
  exit 1
}

stop_watching() {
  [ -z "$WATCHER" ] || kill "$WATCHER" 2>/dev/null
}

# attempts COUNT COMMAND...: until it works, with a pause that doubles from 1 s to 30 s.
attempts() {
  local left="$1" pause=1
  shift
  while ! "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep "$pause"
    pause=$((pause * 2 > 30 ? 30 : pause * 2))
  done
}

# --- who this instance is ---------------------------------------------------------------------------------------------

look_up_ec2() {
  local token
  token="$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$METADATA/latest/api/token")" || return 1
  INSTANCE_ID="$(curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$METADATA/latest/meta-data/instance-id")" || return 1
  INSTANCE_TYPE="$(curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$METADATA/latest/meta-data/instance-type")" || return 1
  REGION="$(curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$METADATA/latest/meta-data/placement/region")" || return 1
  [ -n "$INSTANCE_ID" ] && [ -n "$INSTANCE_TYPE" ]
}

look_up_gce() {
  INSTANCE_ID="$(curl -sf -m 5 -H 'Metadata-Flavor: Google' "$METADATA/computeMetadata/v1/instance/name")" || return 1
  INSTANCE_TYPE="$(curl -sf -m 5 -H 'Metadata-Flavor: Google' "$METADATA/computeMetadata/v1/instance/machine-type")" || return 1
  INSTANCE_TYPE="${INSTANCE_TYPE##*/}"
  [ -n "$INSTANCE_ID" ] && [ -n "$INSTANCE_TYPE" ]
}

identify() {
  # An agent under a wrong name would never be matched with its instance, so there is none without the right one.
  attempts 12 "look_up_$CLOUD" || fail 'the metadata service does not say which instance this is'
  facts_of_type "$INSTANCE_TYPE" || fail "instance type $INSTANCE_TYPE is none that this pool was set up for"
}

# --- files and scripts: written, never printed --------------------------------------------------------------------------

# put NAME BASE64 MODE
put() {
  printf '%s' "$2" | base64 -d >"$FILES/$1" || fail "the file $1 cannot be written"
  chmod "$3" "$FILES/$1"
}

fetch_once() {
  case "$1" in
    ssm:*)
      aws ssm get-parameter --region "$REGION" --name "${1#ssm:}" --with-decryption \
        --query Parameter.Value --output text
      ;;
    secretsmanager:*)
      aws secretsmanager get-secret-value --region "$REGION" --secret-id "${1#secretsmanager:}" \
        --query SecretString --output text
      ;;
    s3://*) aws s3 cp --quiet "$1" - ;;
    gs://*) gcloud storage cat "$1" ;;
    gcp-secret:*) gcloud secrets versions access latest --secret "${1#gcp-secret:}" ;;
    *) return 1 ;;
  esac
}

fetch_into() {
  fetch_once "$1" >"$2" 2>/dev/null
}

# fetch NAME SOURCE MODE
fetch() {
  attempts 6 fetch_into "$2" "$FILES/$1" || fail "the file $1 cannot be fetched from $2"
  chmod "$3" "$FILES/$1"
}

run_startup_script() {
  [ -s "$FILES/startup_script" ] || return 0
  if [ -e "$STATE/startup-done" ]; then
    # An earlier boot ran it; what it set up is there still.
    return 0
  fi
  report startup-script 'running'
  # Its output goes to a file for root alone: it may print what nobody else should read.
  "$FILES/startup_script" >"$STATE/startup.log" 2>&1 || fail "the startup script ended with status $?; see $STATE/startup.log"
  touch "$STATE/startup-done"
}

# --- the agent ----------------------------------------------------------------------------------------------------------

run_in_container() {
  attempts "$PULL_ATTEMPTS" docker pull --quiet "$IMAGE" >/dev/null || {
    docker image inspect "$IMAGE" >/dev/null 2>&1 || fail "the image $IMAGE cannot be pulled"
  }
  # One of an earlier boot would stand in the way.
  docker rm -f "$CONTAINER_NAME" >/dev/null 2>&1 || true
  report running "the agent's container, from $IMAGE"
  with_environment docker run "${DOCKER[@]}" "$IMAGE" "${AGENT[@]}"
}

run_as_process() {
  report running 'the agent'
  with_environment "${AGENT[@]}"
}

# Values are exported and never words of a command, which everybody on the instance could read in the process list.
with_environment() (
  for each in "${ENVIRONMENT[@]}"; do export "${each?}"; done
  exec 9>&-
  exec "$@"
)

# The agent, and again when it fails. Five failures within a minute each, one after the other, are a broken agent.
keep_agent_running() {
  local began status quick=0
  while :; do
    began="$SECONDS"
    "$1"
    status="$?"
    if [ "$status" -eq 0 ] && [ -z "$RESTART_ALWAYS" ]; then
      # Its scheduler gave it up. It must not join again, or a task could be lost with it.
      report ended "the agent ended by itself; shutting down in $FAILED_BOOT_GRACE s"
      sleep "$FAILED_BOOT_GRACE"
      power_off
      return
    fi
    if [ $((SECONDS - began)) -lt "${SLOTSMITH_QUICK:-60}" ]; then quick=$((quick + 1)); else quick=0; fi
    [ "$quick" -lt 5 ] || fail "the agent ended 5 times within a minute of its start, last with status $status"
    report restarting "the agent ended with status $status"
    sleep 5
  done
}

scheduler_answers() {
  timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' _ "$SCHEDULER_HOST" "$SCHEDULER_PORT" 2>/dev/null
}

# The dead-man switch: nobody terminates an instance whose scheduler, and slotsmith with it, may be gone.
watch_scheduler() {
  local lost=0
  while sleep "${SLOTSMITH_LOOK:-15}"; do
    if scheduler_answers; then
      lost=0
      continue
    fi
    lost=$((lost + ${SLOTSMITH_LOOK:-15}))
    if [ "$lost" -ge "$LOST_SCHEDULER_PERIOD" ]; then
      report lost-scheduler "no answer from $SCHEDULER_HOST:$SCHEDULER_PORT for $lost s; shutting down"
      power_off
      return
    fi
  done
}

run_agent() {
  if [ "$LOST_SCHEDULER_PERIOD" -gt 0 ] && [ -n "$SCHEDULER_HOST" ]; then
    watch_scheduler 9>&- &
    WATCHER="$!"
  fi
  if [ -n "$IMAGE" ]; then keep_agent_running run_in_container; else keep_agent_running run_as_process; fi
}

# With systemd the agent comes back after a reboot, at which the cloud may not run this script again.
hand_over_to_systemd() {
  [ -z "${SLOTSMITH_NO_SYSTEMD:-}" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1 || return 1
  [ -z "${SLOTSMITH_UNDER_SYSTEMD:-}" ] || return 1
  [ "${BASH_SOURCE[0]}" -ef "$STATE/boot.sh" ] || install -m 0700 "${BASH_SOURCE[0]}" "$STATE/boot.sh" || return 1
  cat >/etc/systemd/system/slotsmith-agent.service <<UNIT || return 1
[Unit]
Description=The agent that slotsmith started this instance for
After=network-online.target docker.service
Wants=network-online.target
[Service]
Environment=SLOTSMITH_UNDER_SYSTEMD=1
ExecStart=/bin/bash $STATE/boot.sh
Restart=no
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload && systemctl enable --quiet slotsmith-agent.service &&
    systemctl start --no-block slotsmith-agent.service
}

main() {
  if hand_over_to_systemd; then
    say 'the boot goes on in slotsmith-agent.service'
    return 0
  fi
  exec 9>"$STATE/lock"
  flock -n 9 || { say 'the agent is being looked after already'; return 0; }
  trap 'fail "the boot script ended with status $?"' EXIT
  # The machine goes down, or somebody stops the agent: that is no failure.
  trap 'trap stop_watching EXIT; exit 143' TERM
  identify
  report booting "as $INSTANCE_ID, $INSTANCE_TYPE"
  write_files
  run_startup_script
  set_up_agent
  run_agent
  trap stop_watching EXIT
}

main
