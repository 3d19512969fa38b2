@local @commit
Feature: Jobs are accounted for, and quotas count
  Slurm's database says who used what. Accounts and limits belong to the design: what somebody changed by hand is found and put right.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 020 and 051: sacct knows the notebooks' jobs, from any node
    Then every node answers "sacct -n -X --allusers --starttime=now-1days --endtime=now --state=COMPLETED --format=JobName%20 | tr -d ' ' | grep -x -e hostname -e hello | sort -u | paste -sd," with "hello,hostname"
    And every node answers "su - taro -c 'sacct -n -X --starttime=now-1days --name=hello --format=User,Account,State | xargs'" with "taro users COMPLETED"
    And the master answers "sshare -n -P --user=taro --format=Account,User,RawShares | grep taro | tr -d ' '" with "users|taro|1"

  Scenario: A quota stops a job and says why; a user who leaves keeps their history
    When tmplrun runs notebook 051 with
      | users | [{name: hanako, limits: {MaxJobs: 1, GrpTRESMins: "cpu=100"}}] |
    Then it succeeds
    When hanako submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=1 --time=5 --job-name=first
      sleep 300
      """
    Then the job is RUNNING
    When hanako submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=1 --time=5 --job-name=second
      sleep 300
      """
    Then the job waits because of "AssocMaxJobsLimit"
    When somebody runs "scancel --user=hanako" on master
    And hanako submits this job
      """
      #!/bin/bash
      #SBATCH --nodes=1 --time=2:00:00 --job-name=long
      sleep 300
      """
    Then the job waits because of "AssocGrpCPUMinutesLimit"
    When tmplrun runs notebook 052 with
      | names       | [hanako] |
      | cancel_jobs | True     |
    Then it succeeds
    And the master answers "sacctmgr -nP show associations where user=hanako format=User" with ""
    And the master answers "sacct -nPX --allusers --starttime=now-1days --name=first --format=User,State | cut -d' ' -f1" with "hanako|CANCELLED"

  Scenario: What was changed behind the design's back is put right
    When somebody runs "sacctmgr -i modify user taro set MaxJobs=9 && sacctmgr -i add account stray organization=clusterbook && sacctmgr -i add user nobody account=users" on master
    And "clusterbook plan {cluster} --json" runs
    Then the plan has a change of "Slurm user taro" on master
    And the plan has a change of "no Slurm user nobody" on master
    And the plan has a change of "no Slurm account stray" on master
    When "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the master answers "sacctmgr -nP show associations where user=taro format=Account,User,MaxJobs" with "users|taro|"
    And the master answers "sacctmgr -nP show associations format=Account,User | grep -e stray -e nobody | wc -l" with "0"
    When "clusterbook plan {cluster} --json" runs
    Then the plan is empty
    When somebody runs "systemctl stop slurmdbd && pkill -KILL mariadbd" on master
    And "clusterbook apply {cluster} --yes" runs
    Then it succeeds
    And the master answers "sacct -n -X --allusers --starttime=now-1days --name=hello --user=taro --format=User | xargs" with "taro"
